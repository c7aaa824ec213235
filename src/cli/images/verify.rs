//! `doorward images verify`: whether everything that is kept is as it was.

use std::{cell::RefCell, collections::HashSet};

use clap::Args;
use serde::Serialize;

use super::{
    args::{Quiet, STOPPED_HELP, image},
    follow::{failed, follow, shown},
};
use crate::{
    cli::{
        connect::Connection,
        failure::EXIT_NO,
        show::{
            self, Format,
            colour::{Paint, Tone},
            human::{count, printable, size},
            json,
        },
    },
    wire::doorward::v1::{
        self as wire,
        verify_images_response::{Damage, Verified},
    },
};

/// The arguments of `doorward images verify`.
#[derive(Args, Debug)]
#[command(after_help = format!("What is damaged is printed as it is found: its digest, what is wrong (missing, size, \
    content, unreadable) and which images need it.\n\nWith --json, one object a line: {{\"event\": \"damage\", \
    \"digest\", \"what\", \"images\"}} and last {{\"event\": \"done\", \"blobs\", \"bytes\", \"damaged\"}}.\n\nExit \
    code: 0 if all is well; 1 if something is damaged or there is no such image; 125 if the agent could not be asked. \
    {STOPPED_HELP}"))]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    connection: Connection,
    #[command(flatten)]
    quiet: Quiet,
    #[command(flatten)]
    format: Format,
    /// Which image [default: all]
    #[arg(value_parser = image())]
    image: Option<String>,
}

/// One line of `--json`.
#[derive(Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
enum Line<'a> {
    Damage { digest: &'a str, what: &'a str, images: &'a [String] },
    Done { blobs: u64, bytes: u64, damaged: u64 },
}

/// Checks them.
pub(super) async fn run(args: VerifyArgs) -> anyhow::Result<u8> {
    let images = args.connection.connect().await?.images();
    let what = format!("verify {}", args.image.as_deref().unwrap_or("images"));
    let request = wire::VerifyImagesRequest {
        task_id: images.task_id(),
        image: args.image.unwrap_or_default(),
    };
    let progress = args.quiet.progress();
    // After a break it begins anew, and finds the same again.
    let told = RefCell::new(HashSet::new());
    let found = |damage: Damage| match told.borrow_mut().insert(damage.digest.clone()) {
        true => {
            progress.clear();
            print_damage(&damage, args.format)
        }
        false => Ok(()),
    };
    let work = follow(&images, &progress, || images.verify_images(request.clone()), found);
    let left = "the agent stops as well";
    let done = shown(&progress, work, left).await.map_err(failed(what))?;
    print_end(&done, args.format)?;
    Ok(if done.damaged == 0 { 0 } else { EXIT_NO })
}

fn print_damage(damage: &Damage, format: Format) -> anyhow::Result<()> {
    let Damage { digest, what, image_ids } = damage;
    if format.json {
        return json::line(&Line::Damage { digest, what, images: image_ids });
    }
    let what = Paint::for_stdout().paint(Tone::Bad, &printable(what));
    let needed = match &image_ids[..] {
        [] => "no image needs it".to_string(),
        ids => format!("needed by {}", printable(&ids.join(", "))),
    };
    show::put(&format!("{}  {what}  {needed}\n", printable(digest)))
}

fn print_end(done: &Verified, format: Format) -> anyhow::Result<()> {
    let Verified { blobs, bytes, damaged } = *done;
    if format.json {
        return json::line(&Line::Done { blobs, bytes, damaged });
    }
    let verdict = match damaged {
        0 => Paint::for_stdout().paint(Tone::Good, "all is well"),
        damaged => Paint::for_stdout().paint(Tone::Bad, &format!("{damaged} damaged")),
    };
    show::put(&format!("{}, {}: {verdict}\n", count(blobs, "blob", "blobs"), size(bytes)))
}
