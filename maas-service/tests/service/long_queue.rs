//! A queue that has grown long while nobody took from it (F40): all of it takes effect, once and in order.

use maas_client::session::{CreateMode, Step};
use maas_client::wire::state::Desired;
use test_support::eventually;

use crate::world::{LIMIT, World};

/// How many requests wait. Far more than one transaction holds.
const REQUESTS: u32 = 10_000;

#[tokio::test]
async fn ten_thousand_waiting_requests_take_effect_once_and_in_order() {
    let mut world = World::start(&["--memory", "1000000"]).await;
    world.leads().await;
    world.daemon.signal("STOP");
    let request = |n: u32| {
        // Of every ten requests for a model the last takes away what the nine before it added.
        let (action, copies, path) = match n % 10 {
            9 => ("REMOVE", 9, "null"),
            _ => ("ADD", 1, r#""file:/nowhere""#),
        };
        let name = n / 10 % 7;
        format!(
            r#"{{"name":"m{name}","version":"1.0","numInstances":{copies},"memory":1,"action":"{action}","path":{path}}}"#
        )
    };
    let steps: Vec<Step> = (0..REQUESTS)
        .map(|n| Step::Create {
            path: world.layout.queue.join("qn-"),
            data: request(n).into_bytes(),
            mode: CreateMode::PersistentSequential,
        })
        .collect();
    // The daemon may have been stopped before it made the queue.
    world.session.ensure(&world.layout.queue).await.unwrap();
    for steps in steps.chunks(1000) {
        world.session.commit(steps).await.unwrap();
    }
    // One that is left standing, to see that it comes last.
    let last = world.offer(&request(0)).await;
    world.daemon.signal("CONT");
    assert_eq!(world.answer(&last).await.instances, Some(1));
    let queue = &world.layout.queue;
    eventually(LIMIT, "the queue to be empty", async || {
        world.session.children(queue).await.unwrap().is_empty()
    })
    .await;
    let results = world
        .session
        .children(&world.layout.results_root())
        .await
        .unwrap();
    assert_eq!(results.len(), REQUESTS as usize + 1);
    for name in 0..7 {
        let name = format!("m{name}").parse().unwrap();
        let path = world.layout.desired(&name, &"1.0".parse().unwrap());
        let desired = world.session.get(&path).await.unwrap();
        let copies = desired.map_or(0, |(data, _)| Desired::parse(&data).unwrap().instances);
        assert_eq!(copies, u32::from(name.as_str() == "m0"), "{name}");
    }
}
