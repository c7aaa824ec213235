//! An agent that comes with a command of ours and ends with it.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use doorward::{
    agent::{
        Agent,
        config::{Config, ServeArgs},
        log,
    },
    cli::exec::{EXIT_OWN, Kind, Place},
    client::{Address, Options, random_id},
};
use tokio::sync::Notify;

/// Runs `command` with an agent of its own, and returns its exit code when the agent has ended
/// too.
pub(crate) async fn with_agent<F: Future<Output = u8>>(command: impl FnOnce(Place) -> F) -> u8 {
    let embedded = match Private::directory() {
        Ok(private) => embedded(&private).await.map(|agent| (agent, private)),
        Err(error) => Err(format!("make a private directory: {error}")),
    };
    let (agent, private) = match embedded {
        Ok(embedded) => embedded,
        Err(reason) => {
            eprintln!("doorward: failed to {reason}");
            return EXIT_OWN;
        }
    };
    let end = Arc::new(Notify::new());
    let asked = end.clone();
    let serving = tokio::spawn(agent.serve(async move { asked.notified().await }));
    let ask = end.clone();
    let place = Place {
        options: Options::new(Address::Unix(private.socket()), ""),
        kind: Kind::Embedded(Box::new(move || ask.notify_one())),
    };
    let code = command(place).await;
    end.notify_one();
    // It ends in time by itself; an error would be a panic that was reported.
    let _ = serving.await;
    code
}

/// An agent for one command, on a socket that only this user reaches.
async fn embedded(private: &Private) -> Result<Agent, String> {
    let config = Config::from_args(ServeArgs {
        listen: vec![format!("unix://{}", private.socket().display())],
        state_dir: private.0.join("state").into(),
        log: "error".into(),
        disable: env::var("DOORWARD_DISABLE").unwrap_or_default(),
        ..ServeArgs::defaults()
    });
    let config = config.map_err(|mistakes| mistakes.join("; "))?;
    log::start(&config.log);
    Agent::set_up(config).await.map_err(|error| error.to_string())
}

/// A directory that only we can enter, removed with all that is in it when it is dropped.
struct Private(PathBuf);

impl Private {
    fn directory() -> io::Result<Self> {
        let name = format!("doorward-{}", random_id());
        let make = |parent: &Path| {
            let path = parent.join(&name);
            DirBuilder::new().mode(0o700).create(&path).map(|()| Self(path))
        };
        // A socket's path has a hundred bytes at most.
        let temporary = env::temp_dir();
        let short = temporary.as_os_str().len() < 50;
        if short { make(&temporary) } else { make(Path::new("/tmp")) }
    }

    fn socket(&self) -> PathBuf {
        self.0.join("agent.sock")
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // Nothing in it is needed; what stays is a few bytes in a temporary directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}
