//! hyper-util's client over `PinningConnector`, with one pin of the server and a backup.

use pinhold::{PinPolicy, Pinning, PinningConnector, TrustAnchors};
use pinhold_comparison::{Arguments, Failure, provider, send};

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse()?;
    let backup = "sha256/Q6/afnLXEZWcGnLIRR7DOU+NAJtEoPVqWsomIpZsw/4=";
    let policy = PinPolicy::new([arguments.pin.as_str(), backup])?;
    let pinning = Pinning::builder()
        .static_pins("localhost", policy)
        .build()?;
    let anchors = TrustAnchors::new().with_built_in([arguments.root.clone()])?;
    let connector = PinningConnector::builder(pinning)
        .with_provider(provider())
        .with_anchors(anchors)
        .https_only()
        .build()?;
    send(&arguments, connector)
}
