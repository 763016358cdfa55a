//! `dga openapi`

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use super::print;

#[derive(Debug, Args)]
pub(crate) struct OpenApi {}

impl OpenApi {
    pub(crate) fn run(&self) -> Result<ExitCode> {
        print(&dga::server::document())?;
        Ok(ExitCode::SUCCESS)
    }
}
