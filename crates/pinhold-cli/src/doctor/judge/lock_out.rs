//! When connections to a name begin to be refused.

use crate::doctor::forecast::{Certainty, LockOut};
use crate::doctor::judge::case::Case;
use crate::doctor::judge::facts::earliest;
use crate::doctor::judge::future::Future;

/// Returns the first lock-out that is known of.
pub(super) fn lock_out(case: &Case<'_>) -> Option<LockOut> {
    let at = case.setting.at;
    let expiry = case.subject.expiry.filter(|expiry| expiry.refuses);
    let expiry = expiry.map(|expiry| LockOut {
        at: expiry.at,
        certainty: Certainty::Certain,
        reason: "the policy expires, and then refuses all connections".to_owned(),
    });
    let refused = case
        .chains
        .iter()
        .any(|chain| chain.refused().next().is_some());
    let now = (refused && case.refuses(at)).then(|| LockOut {
        at,
        certainty: Certainty::Certain,
        reason: "no valid path has the pinned keys".to_owned(),
    });
    let groups = case.groups.iter().map(|group| end(group));
    let groups = groups.map(|end| end.filter(|end| case.refuses(end.at)));
    earliest([expiry, now].into_iter().chain(groups))
}

/// Returns when the last pin of a group ends. While pins hold, that is the last of these: the server
/// has to be moved to use another one. The end of a leaf is no lock-out if there is another one,
/// since its key may be kept.
fn end(group: &[Future<'_>]) -> Option<LockOut> {
    let live = group.iter().filter(|pin| pin.holds == Some(true));
    let live = live.collect::<Vec<_>>();
    let counted = if live.is_empty() {
        group.iter().collect()
    } else {
        live
    };
    let ends = counted.iter().map(|pin| pin.end.clone());
    let ends = ends.collect::<Option<Vec<_>>>()?;
    let last = ends.into_iter().max_by_key(|end| end.at)?;
    let mut others = group.iter().filter(|pin| pin.holds == Some(false));
    let has_other = others.any(|pin| pin.outlives(last.at));
    (last.certainty != Certainty::Risk || !has_other).then_some(last)
}
