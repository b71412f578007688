//! Tasks of which a fixed number runs at once.

use tokio::task::JoinSet;

/// Runs the tasks, 32 at once, and calls `finished` with the position of each that ends. Returns their
/// results in their order; `None` for a task that panicked.
pub(super) async fn run<F>(tasks: Vec<F>, mut finished: impl FnMut(usize)) -> Vec<Option<F::Output>>
where
    F: Future<Output: Send> + Send + 'static,
{
    let mut results = tasks.iter().map(|_| None).collect::<Vec<_>>();
    let mut waiting = tasks.into_iter().enumerate();
    let mut running = JoinSet::new();
    loop {
        while running.len() < AT_ONCE
            && let Some((position, task)) = waiting.next()
        {
            running.spawn(async move { (position, task.await) });
        }
        let Some(joined) = running.join_next().await else {
            return results;
        };
        let Ok((position, result)) = joined else {
            continue;
        };
        if let Some(place) = results.get_mut(position) {
            *place = Some(result);
        }
        finished(position);
    }
}

/// Few enough for the limit of open files and for a small DNS server.
const AT_ONCE: usize = 32;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn at_most_32_tasks_run_at_once_and_results_have_the_order_of_the_tasks() {
        let running = Arc::new(AtomicUsize::new(0));
        let most = Arc::new(AtomicUsize::new(0));
        let task = |number: usize| {
            let (running, most) = (running.clone(), most.clone());
            async move {
                let now = running.fetch_add(1, Ordering::SeqCst) + 1;
                most.fetch_max(now, Ordering::SeqCst);
                // Later tasks need fewer turns, so that they end before earlier ones.
                for _ in number..100 {
                    tokio::task::yield_now().await;
                }
                running.fetch_sub(1, Ordering::SeqCst);
                number
            }
        };
        let mut order = Vec::new();
        let results = run((0..100).map(task).collect(), |position| {
            order.push(position)
        })
        .await;
        assert_eq!(results, (0..100).map(Some).collect::<Vec<_>>());
        assert_eq!(most.load(Ordering::SeqCst), 32);
        assert_ne!(order, (0..100).collect::<Vec<_>>());
        order.sort_unstable();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
    }
}
