//! Which service a request is for, by its path.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response};
use tonic::body::Body;
use tower_service::Service;

use super::{
    control::Control, health::Health, images::Images, reflect, status::status,
    task_command_router::TaskCommandRouter, warnings,
};
use crate::core::failure::Kind;

/// A service with its type forgotten.
type Boxed = Box<dyn Erased>;

/// All services of the agent, as one.
#[derive(Clone)]
pub struct Router {
    door: TaskCommandRouter,
    control: Control,
    /// Services by the prefix of their paths; each request clones this, and then the one it is for.
    services: Arc<[(&'static str, Boxed)]>,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

trait Erased: Send + Sync {
    fn call(&self, request: Request<Body>) -> Answer;
}

impl<S> Erased for S
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Future: Send + 'static,
{
    fn call(&self, request: Request<Body>) -> Answer {
        Box::pin(Service::call(&mut self.clone(), request))
    }
}

impl Router {
    /// Routes to `door`, `control`, `images`, health and reflection. The handle changes what health says.
    pub async fn new(door: TaskCommandRouter, control: Control, images: Images) -> (Self, Health) {
        let (health, health_service) = super::health::service().await;
        let services: Vec<(&'static str, Boxed)> = vec![
            (DOOR, Box::new(door.service())),
            ("/doorward.v1.Control/", Box::new(control.service())),
            #[cfg(feature = "images")]
            ("/doorward.v1.Images/", Box::new(images.service())),
            (HEALTH, Box::new(health_service)),
            ("/grpc.reflection.v1.ServerReflection/", Box::new(reflect::v1())),
            ("/grpc.reflection.v1alpha.ServerReflection/", Box::new(reflect::v1alpha())),
        ];
        #[cfg(not(feature = "images"))]
        drop(images);
        (Self { door, control, services: services.into() }, health)
    }
}

/// Where public clients go.
const DOOR: &str = "/modal.task_command_router.TaskCommandRouter/";
/// Where health checks go; they need no authentication.
pub const HEALTH: &str = "/grpc.health.v1.Health/";
const READ_EXEC: &str = "/modal.task_command_router.TaskCommandRouter/TaskExecStdioRead";
const READ_OUTPUT: &str = "/doorward.v1.Control/ReadOutput";
const ATTACH: &str = "/doorward.v1.Control/Attach";
const READ_ENTRYPOINT: &str = "/modal.task_command_router.TaskCommandRouter/SandboxStdioReadV2";

impl Service<Request<Body>> for Router {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Answer {
        let path = request.uri().path();
        if path == READ_EXEC {
            let door = self.door.clone();
            return Box::pin(async move { Ok(door.read_exec(request).await) });
        }
        if path == READ_ENTRYPOINT {
            let door = self.door.clone();
            return Box::pin(async move { Ok(door.read_entrypoint(request).await) });
        }
        if path == READ_OUTPUT {
            let (control, unsent) = (self.control.clone(), self.door.unsent());
            return Box::pin(async move { Ok(control.read(request, &unsent).await) });
        }
        if path == ATTACH {
            let (control, unsent) = (self.control.clone(), self.door.unsent());
            return Box::pin(async move { Ok(control.sit(request, &unsent).await) });
        }
        match self.services.iter().find(|(prefix, _)| path.starts_with(prefix)) {
            Some((DOOR, service)) => {
                let answer = service.call(request);
                Box::pin(async move { answer.await.map(warnings::trail) })
            }
            Some((_, service)) => service.call(request),
            None => {
                let text = format!("no service answers at {path}");
                Box::pin(std::future::ready(Ok(status(Kind::Unbuilt, text).into_http())))
            }
        }
    }
}
