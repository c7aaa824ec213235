//! `shell` and `attach` without a terminal, and with an agent that is none of ours.

use std::{
    convert::Infallible,
    io::Write,
    process::{Command, Output, Stdio},
};

use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, task::spawn_blocking};
use tonic::{Status, body::Body};

use crate::support::{Agent, TASK, door::TOKEN, sh};

/// Runs `doorward ARGS` with this standard input.
async fn doorward(address: &str, args: &[&str], input: &'static str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_doorward"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    for (name, value) in [("ADDRESS", address), ("TOKEN", TOKEN), ("TASK_ID", TASK)] {
        command.env(format!("DOORWARD_{name}"), value);
    }
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let run = spawn_blocking(move || {
        // Who fails at once takes no input.
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        child.wait_with_output().unwrap()
    });
    run.await.unwrap()
}

/// Code, standard output and standard error.
fn seen(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn a_shell_reads_the_commands_that_are_piped_to_it() {
    let agent = Agent::start().await;
    let script = "echo out; echo err >&2; tty -s || echo no terminal\n~.\nexit 3\n";
    let args = ["shell", "-e", "SHELL=/bin/sh", "--", "sh"];
    let (code, out, err) = seen(&doorward(agent.address(), &args, script).await);
    assert_eq!((code, &out[..]), (Some(3), "out\nno terminal\n"));
    // There are no escapes in what nobody types: the line was run.
    assert!(err.starts_with("err\n") && err.contains("~."), "{err}");

    let args = ["shell", "-e", "SHELL=/bin/sh"];
    let output = doorward(agent.address(), &args, "echo $0 $((1+1))\n").await;
    assert_eq!(seen(&output), (Some(0), "/bin/sh 2\n".into(), String::new()));
}

#[tokio::test]
async fn an_exec_is_given_what_is_piped_and_then_the_end() {
    let agent = Agent::start().await;
    let id = agent.door().await.start(&sh("cat; echo end; exit 4")).await.unwrap();
    let output = doorward(agent.address(), &["attach", &id], "some\nlines\n").await;
    assert_eq!(seen(&output), (Some(4), "some\nlines\nend\n".into(), String::new()));
}

#[tokio::test]
async fn another_agent_is_told_what_it_lacks() {
    let address = without_control().await;
    for args in [&["shell"][..], &["attach", "x"]] {
        let (code, out, err) = seen(&doorward(&address, args, "").await);
        assert_eq!((code, &out[..]), (Some(125), ""), "{err}");
        assert!(err.contains("no doorward.v1.Control"), "{err}");
        assert_eq!(err.contains("doorward exec -it"), args == ["shell"], "{err}");
    }
}

/// A server that has none of the services that it is asked for.
async fn without_control() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    let answer = service_fn(async |_: Request<Incoming>| {
        let response: Response<Body> = Status::unimplemented("no such service").into_http();
        Ok::<_, Infallible>(response)
    });
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            let server = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(server.serve_connection(TokioIo::new(socket), answer));
        }
    });
    address
}
