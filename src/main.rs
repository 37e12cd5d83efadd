//! The command line. Every command is a few lines that call the library.
//!
//! Standard output holds only the result, as JSON; standard error holds progress and problems.

#![warn(clippy::too_many_lines)]

mod commands;

use clap::Parser;
use commands::{
    Audit, AuditFilter, Body, Cli, Command, ConfigCommand, Failure, Gallery, Homeassistant, Http,
    Runner, Webhook, image_field, show,
};
use doorward::config::Config;
use doorward::contract::{Mode, Operation, field};
use doorward::face::Analyzer;
use doorward::log::{self, Log};
use doorward::mqtt;
use doorward_evaluate::calibrate;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::Arc;

/// Core dumps would contain faces and passwords. The limit alone does not stop one that goes to a
/// program, such as systemd-coredump.
fn forbid_core_dumps() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit};
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    // Each fails only on a kernel that has no core dumps.
    let _ = rustix::process::setrlimit(Resource::Core, none);
    let _ = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

fn main() -> ExitCode {
    doorward::nn::give_back_large_buffers();
    forbid_core_dumps();
    let cli = Cli::parse();
    let log = match Log::start() {
        Ok(log) => log,
        Err(error) => {
            eprintln!("doorward: no thread for the log: {error}");
            return ExitCode::from(4);
        }
    };
    log.take_panics();
    let _last_lines = log.flushed_at_end();
    run(cli, &log).unwrap_or_else(|failure| {
        if failure.is_closed_pipe() {
            return ExitCode::SUCCESS;
        }
        log.say(format_args!("doorward: {failure}"));
        failure.exit_code()
    })
}

fn run(Cli { config: file, json, command }: Cli, log: &Log) -> Result<ExitCode, Failure> {
    let config = Config::load(file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // Every command checks the level, but only the daemon logs at it: for other commands only lines
    // that the answer does not contain are of interest.
    let level = log::filter(&config.log.level, mqtt::QUIET_LOGS)?;
    match command {
        Command::Run => log.take_traces(level),
        _ => log.take_traces(log::filter("error", mqtt::QUIET_LOGS)?),
    }
    let for_people = !json && std::io::stdout().is_terminal();
    let runner = Runner { file, config, runtime, for_people };
    match command {
        Command::Run => runner.daemon(),
        Command::Unlock { reason } => {
            runner.local(Operation::Unlock, Body::default().with(field::REASON, Some(reason)))
        }
        Command::Enroll { picture, subject_id, add } => {
            let body = picture.body()?.with(field::SUBJECT_ID, subject_id);
            let mode = add.then_some(Mode::Add.name());
            runner.local(Operation::Enroll, body.with(field::MODE, mode))
        }
        Command::Verify { picture, subject_id, threshold } => {
            let body = picture.body()?.with(field::SUBJECT_ID, Some(subject_id));
            runner.local(Operation::Verify, body.with(field::THRESHOLD, threshold))
        }
        Command::Search { picture, limit, threshold, return_image } => {
            let body = picture.body()?.with(field::LIMIT, limit).with(field::THRESHOLD, threshold);
            let return_image = return_image.then_some(true);
            runner.local(Operation::Search, body.with(field::RETURN_IMAGE, return_image))
        }
        Command::Liveness { picture } => runner.local(Operation::Liveness, picture.body()?),
        Command::Compare { image_1, image_2, threshold, fields } => {
            let body = fields.body()?.with(field::IMAGE_1, Some(image_field(&image_1)?));
            let body = body.with(field::IMAGE_2, Some(image_field(&image_2)?));
            runner.local(Operation::Compare, body.with(field::THRESHOLD, threshold))
        }
        Command::Call(call) => runner.call(call),
        Command::Gallery(gallery) => run_gallery(&runner, gallery),
        Command::App(app) => {
            let (operation, body) = app.request();
            runner.local(operation, body)
        }
        Command::Audit(Audit::Verify { noted }) => {
            let (line, hash) = noted.unzip();
            let body = Body::default().with(field::LINE, line).with(field::HASH, hash);
            runner.local(Operation::AuditVerify, body)
        }
        Command::Audit(Audit::List { since, until, subject, kind }) => {
            runner.audit_list(&AuditFilter { since, until, subject, kind })
        }
        Command::Webhook(Webhook::Test) => runner.test_webhook(),
        Command::Http(Http::Listen { address }) => runner.http_listen(address),
        Command::Homeassistant(Homeassistant::Remove) => runner.remove_from_homeassistant(),
        Command::Evaluate(evaluate) => {
            show(format_args!("{}\n", evaluate.run(Arc::new(Analyzer::load()?))?))
        }
        Command::Camera(camera) => show(format_args!("{:#}\n", camera.run(&runner.config.camera)?)),
        Command::Doctor => runner.doctor(),
        Command::Calibrate(calibrate::Command { part: None, dir, plot }) => {
            runner.calibrate_people(dir, plot)
        }
        Command::Calibrate(calibrate::Command { part: Some(part), .. }) => {
            runner.calibrate_liveness(part)
        }
        Command::Config(ConfigCommand::Check) => runner.check_config(),
        Command::Config(ConfigCommand::Print) => show(runner.config.to_commented_toml()?),
    }
}

fn run_gallery(runner: &Runner, gallery: Gallery) -> Result<ExitCode, Failure> {
    let body = Body::default();
    match gallery {
        Gallery::List { limit, cursor } => {
            runner.list(body.with(field::LIMIT, limit).with(field::CURSOR, cursor))
        }
        Gallery::Update { subject_ids, groups, fields } => {
            let groups = groups.map(commands::filled);
            runner.update(&subject_ids, &fields.body()?.with(field::GROUPS, groups))
        }
        Gallery::Delete { subject_id } => {
            runner.local(Operation::SubjectDelete, body.with(field::SUBJECT_ID, Some(subject_id)))
        }
        Gallery::Reindex { dry_run } => runner.reindex(dry_run),
        Gallery::Scrub => runner.local(Operation::GalleryScrub, body),
        Gallery::Import { dir, names, groups } => {
            runner.import(&dir, names.as_deref(), groups.map(commands::filled).as_deref())
        }
    }
}
