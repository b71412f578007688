//! When connections to a name begin to be refused.

use crate::doctor::forecast::{Certainty, LockOut};
use crate::doctor::judge::case::{Case, Chain};
use crate::doctor::judge::facts::earliest;
use crate::doctor::judge::future::{Future, end_on};

/// Returns the first lock-out that is known of.
pub(super) fn lock_out(case: &Case<'_>) -> Option<LockOut> {
    let at = case.setting.at;
    let expiry = case.subject.expiry.filter(|expiry| expiry.refuses);
    let expiry = expiry.map(|expiry| LockOut {
        at: expiry.at,
        certainty: Certainty::Certain,
        reason: "the policy expires, and then refuses all connections".to_owned(),
    });
    let mut refused = case.chains.iter().flat_map(Chain::refused);
    let refused = refused.find(|refused| case.is_refused_now(refused));
    let now = refused.map(|refused| LockOut {
        at,
        certainty: Certainty::Certain,
        reason: match refused.key {
            Some(key) => format!("each valid path has a refused key ({key})"),
            None => "no valid path has the pinned keys".to_owned(),
        },
    });
    let groups = case.groups.iter().map(|group| end(group, case));
    let groups = groups.map(|end| end.filter(|end| case.refuses(end.at)));
    earliest([expiry, now].into_iter().chain(groups))
}

/// Returns when the pins of a group end on the first chain that has them; without such a chain, when
/// the last of them ends by the data.
fn end(group: &[Future<'_>], case: &Case<'_>) -> Option<LockOut> {
    let chains = case.chains.iter();
    let by_chain = chains.filter_map(|chain| end_on_chain(group, chain, case));
    let by_chain = by_chain.collect::<Vec<_>>();
    if by_chain.is_empty() {
        return last(group.iter().map(|pin| pin.end.clone()));
    }
    earliest(by_chain)
}

/// Returns when the last pin ends that holds on a chain: the server has to be moved to use another
/// one. The end of a leaf is no lock-out if there is another pin, since its key may be kept.
fn end_on_chain(
    group: &[Future<'_>],
    chain: &Chain<'_>,
    case: &Case<'_>,
) -> Option<Option<LockOut>> {
    let on_chain = group.iter().map(|pin| (pin, end_on(pin.pin, chain, case)));
    let (live, others): (Vec<_>, Vec<_>) = on_chain.partition(|(_, end)| end.is_some());
    if live.is_empty() {
        return None;
    }
    let last = last(live.into_iter().filter_map(|(_, end)| end));
    Some(last.filter(|last| {
        let has_other = others.iter().any(|(pin, _)| pin.outlives(last.at));
        last.certainty != Certainty::Risk || !has_other
    }))
}

/// Returns the last end; `None` if one is not known.
fn last(ends: impl Iterator<Item = Option<LockOut>>) -> Option<LockOut> {
    let ends = ends.collect::<Option<Vec<_>>>()?;
    ends.into_iter().max_by_key(|end| end.at)
}
