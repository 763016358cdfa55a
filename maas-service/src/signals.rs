//! The frame around a program's life: a runtime, a token that SIGTERM and SIGINT cancel, and an exit code.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

/// Runs `life` until it ends. It is told to stop, by its token, when this process is.
pub fn run_until_told_to_stop<F: Future<Output = anyhow::Result<()>>>(
    life: impl FnOnce(CancellationToken) -> F,
) -> ExitCode {
    // One thread is plenty for what waits most of the time, and it keeps a runner small: there is one for each copy.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "no runtime is to be had");
            return ExitCode::FAILURE;
        }
    };
    let outcome = runtime.block_on(async {
        let stop = CancellationToken::new();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let told = async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            info!("told to stop");
            stop.cancel();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            outcome = life(stop.clone()) => outcome,
            () = told => Ok(()),
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
