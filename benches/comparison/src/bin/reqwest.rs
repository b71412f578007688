//! reqwest's default client, without pins. Its roots are those of the system; `run.py` names the
//! file by `SSL_CERT_FILE`.

use pinhold_comparison::{Arguments, Failure, block_on};

fn main() -> Result<(), Failure> {
    let arguments = Arguments::parse()?;
    block_on(async {
        let mut builder = reqwest::Client::builder();
        if arguments.connects_each_time {
            builder = builder.pool_max_idle_per_host(0);
        }
        let client = builder.build()?;
        for _ in 0..arguments.requests {
            client.get(&arguments.url).send().await?.bytes().await?;
        }
        Ok(())
    })
}
