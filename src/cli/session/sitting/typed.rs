//! What a person asks for: signals and keys.

use std::ops::ControlFlow;

use bytes::Bytes;

use super::{EXIT_HUNG_UP, Link, Sitting, Way};
use crate::{
    cli::{
        failure::EXIT_OWN,
        session::{
            Leaving, ending,
            escape::{Escape, Typed},
            signals::Told,
        },
    },
    client::AttachRole,
};

impl Sitting {
    pub(super) fn told(&mut self, told: Told) -> ControlFlow<Way> {
        match told {
            Told::Leave(code) => return ControlFlow::Break(Way::Left(code)),
            Told::Resized => self.resize(),
            Told::Continued => {
                if let Some(raw) = &self.raw {
                    // A terminal that has gone away meanwhile tells the next read.
                    let _ = raw.renew();
                    self.resize();
                    self.redraw();
                }
            }
        }
        ControlFlow::Continue(())
    }

    pub(super) fn keys(&mut self, keys: Option<Bytes>) -> ControlFlow<Way> {
        let Some(keys) = keys else {
            if self.raw.is_some() {
                // In raw mode a terminal has no end but its own.
                return ControlFlow::Break(Way::Left(EXIT_HUNG_UP));
            }
            self.keys = None;
            self.feed.end();
            return ControlFlow::Continue(());
        };
        for typed in self.escapes.take(&keys) {
            match typed {
                Typed::Input(bytes) => self.feed.push(bytes),
                Typed::Escape(escape) => self.escape(escape)?,
            }
        }
        ControlFlow::Continue(())
    }

    fn escape(&mut self, escape: Escape) -> ControlFlow<Way> {
        match escape {
            Escape::End if self.link != Link::Whole || self.ending.is_some() => {
                return ControlFlow::Break(Way::Left(EXIT_OWN));
            }
            Escape::End if self.role == AttachRole::Observer => {
                return ControlFlow::Break(Way::Left(0));
            }
            Escape::End => {
                self.shown.say("ending it and all that it started");
                let (client, id) = (self.session.client.clone(), self.session.id.clone());
                self.ending = Some(tokio::spawn(ending::end(client, id)));
            }
            Escape::Leave => match self.session.leaving {
                Leaving::Keeps => return ControlFlow::Break(Way::Left(0)),
                Leaving::Ends => self.shown.say("it cannot be left alone: its agent ends with us"),
            },
            Escape::Write => self.seat(AttachRole::Writer),
            Escape::Redraw => self.redraw(),
            Escape::Help => self.help(),
        }
        ControlFlow::Continue(())
    }

    fn help(&mut self) {
        let key = self.session.escape.character().unwrap_or(' ');
        let lines = [
            ('.', "end the exec with all that it started, and leave"),
            ('d', "leave, and it goes on"),
            ('w', "write again, after another terminal took over"),
            ('r', "draw the screen again"),
            ('?', "this list"),
            (key, "that character"),
        ];
        self.shown.say("escapes, typed where a line begins:");
        for (second, text) in lines {
            self.shown.say(&format!("  {key}{second}  {text}"));
        }
    }
}
