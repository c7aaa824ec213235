//! grpc.health.v1: whether the agent serves.
//!
//! It answers for the whole agent (the empty name) and for the main door, and says NOT_SERVING
//! once the agent ends, so that nobody sends it new work.

use tonic_health::{
    ServingStatus,
    pb::health_server::{Health as HealthService, HealthServer},
    server::{HealthReporter, health_reporter},
};

use crate::wire::modal::task_command_router::task_command_router_server::SERVICE_NAME;

/// The names that a health check may ask for.
const NAMES: [&str; 2] = ["", SERVICE_NAME];

/// Sets what health checks answer; clones set the same.
#[derive(Clone, Debug)]
pub struct Health(HealthReporter);

/// The service, and the handle that sets its answers. It starts out serving.
pub async fn service() -> (Health, HealthServer<impl HealthService>) {
    let (reporter, server) = health_reporter();
    let health = Health(reporter);
    health.set(ServingStatus::Serving).await;
    (health, server)
}

impl Health {
    /// From here on, checks answer NOT_SERVING.
    pub async fn stop(&self) {
        self.set(ServingStatus::NotServing).await;
    }

    async fn set(&self, status: ServingStatus) {
        for name in NAMES {
            self.0.set_service_status(name, status).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tonic::Request;
    use tonic_health::pb::{HealthCheckRequest, health_server::Health as _};

    use super::*;

    #[tokio::test]
    async fn both_names_follow_the_agent() {
        let (reporter, _server) = health_reporter();
        let health = Health(reporter.clone());
        let service = tonic_health::server::HealthService::from_health_reporter(reporter);
        let check = async |name: &str| {
            let request = Request::new(HealthCheckRequest { service: name.into() });
            service.check(request).await.map(|response| response.into_inner().status)
        };
        health.set(ServingStatus::Serving).await;
        for name in NAMES {
            assert_eq!(check(name).await.unwrap(), 1, "{name}");
        }
        health.stop().await;
        for name in NAMES {
            assert_eq!(check(name).await.unwrap(), 2, "{name}");
        }
        assert_eq!(check("nobody").await.unwrap_err().code(), tonic::Code::NotFound);
    }
}
