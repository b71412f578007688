//! Findings about a pin file that can't be read, or whose policies contradict each other.

use pinhold::BuildError;
use pinhold::pin_file::{PinFile, PinFileError, PinFileProblem};
use pinhold::policy::PolicyError;

use crate::failure::Failure;
use crate::pins::check::finding::Finding;
use crate::pins::check::policies::PolicyCheck;
use crate::pins::check::source::Place;

/// Returns the text of a pin file of an allowed size.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, Finding> {
    if u64::try_from(bytes.len()).is_ok_and(|len| len > PinFile::MAX_SIZE) {
        let detail = "larger than 64 MiB, the limit of a pin file";
        let remedy = "split the policies into several files, one for each application";
        return Err(Finding::error("unreadable", detail, remedy));
    }
    str::from_utf8(bytes).map_err(|error| {
        let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
        let mut lines = before.split(|byte| *byte == b'\n');
        let column = lines.next_back().map_or(0, <[u8]>::len) + 1;
        let line = lines.count() + 1;
        let detail = "not UTF-8";
        let remedy = "save the file in UTF-8, without characters of another encoding";
        Finding::error("unreadable", detail, remedy).at(Place { line, column })
    })
}

/// Returns the finding of a file that can't be read.
pub(crate) fn unreadable(error: &PinFileError) -> Finding {
    let problem = error.problem();
    let remedy = match problem {
        PinFileProblem::DuplicateHost { .. } => "join the policies, or give them other scopes",
        PinFileProblem::Json { .. } => {
            "write plain JSON, without trailing commas; notes belong into members named `comment`"
        }
        PinFileProblem::MissingMember { .. } => "add the member",
        PinFileProblem::NoPolicies => "add a policy",
        PinFileProblem::Pin(_) => {
            "run `pinhold fingerprint` on the certificate or key, which prints its pin"
        }
        PinFileProblem::Policy(PolicyError::NoBackup) => {
            "add the pin of a key that is kept offline (`pinhold key new`), or of a root of \
             another CA"
        }
        PinFileProblem::UnknownMember { .. } => {
            "correct the name; notes belong into members named `comment`"
        }
        PinFileProblem::Version { .. } => "use a newer version of pinhold",
        _ => "correct the value",
    };
    let (line, column) = (error.line(), error.column());
    Finding::error("unreadable", problem.to_string(), remedy).at(Place { line, column })
}

/// Returns the finding of policies that contradict each other.
pub(crate) fn unbuildable(error: &BuildError, check: &PolicyCheck<'_>) -> Finding {
    let detail = Failure::of_build(error).to_string();
    match error {
        BuildError::Exemption { host, .. } => {
            let remedy = "remove the name from `exempt`, or widen the scope of the policy";
            let finding = Finding::error("exemption", detail, remedy).of_host(host);
            finding.at(check.place_of(host))
        }
        BuildError::UnionOfGroups { host } => {
            let remedy = "use `\"overlap\": \"nearest\"`, or join the groups to one";
            let finding = Finding::error("union-of-groups", detail, remedy).of_host(host);
            finding.at(check.place_of(host))
        }
        _ => Finding::error("contradiction", detail, "correct the policies"),
    }
}
