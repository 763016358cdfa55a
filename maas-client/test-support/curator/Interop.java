// A real Apache Curator, driven by lines of JSON: one request per line on stdin, one answer per line on stdout.
//
// This is how our tests learn whether Curator's own x-discovery and SimpleDistributedQueue read what we write, and
// whether we read what they write. Run from source: java -cp <Curator's jars> Interop.java <connect string>
//
// The package and the two beans below are part of the format: x-discovery writes a payload's class name into its JSON,
// and existing fleets have these names there.
package org.apache.metron.maas.config;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.recipes.queue.SimpleDistributedQueue;
import org.apache.curator.retry.RetryNTimes;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceType;
import org.apache.curator.x.discovery.details.JsonInstanceSerializer;

public class Interop {
    private static final ObjectMapper JSON = new ObjectMapper();

    private final CuratorFramework client;
    // Kept open: closing a ServiceDiscovery removes what was registered with it.
    private final Map<String, ServiceDiscovery<ModelEndpoint>> discoveries = new HashMap<>();

    private Interop(CuratorFramework client) {
        this.client = client;
    }

    public static void main(String[] args) throws Exception {
        // Jackson finds the payload's class by the thread's class loader; run from source, that is not the default one.
        Thread.currentThread().setContextClassLoader(Interop.class.getClassLoader());
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        LinkedBlockingQueue<String> requests = new LinkedBlockingQueue<>();
        Thread reader = new Thread(() -> read(requests), "requests");
        reader.setDaemon(true);
        reader.start();

        CuratorFramework client = CuratorFrameworkFactory.newClient(args[0], 10_000, 10_000, new RetryNTimes(5, 200));
        client.start();
        if (!client.blockUntilConnected(30, TimeUnit.SECONDS)) {
            throw new IllegalStateException("no connection to " + args[0] + " within 30 s");
        }
        Interop interop = new Interop(client);
        out.println("ready");
        while (true) {
            ObjectNode answer = JSON.createObjectNode();
            try {
                answer.set("ok", interop.carryOut(JSON.readTree(requests.take())));
            } catch (Exception error) {
                answer.removeAll();
                answer.put("error", error.toString());
            }
            out.println(JSON.writeValueAsString(answer));
        }
    }

    /** Ends the program with its input, also while a request still waits: whoever asked is gone. */
    private static void read(LinkedBlockingQueue<String> requests) {
        try (BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8))) {
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                requests.add(line);
            }
        } catch (Exception error) {
            System.err.println(error);
        }
        Runtime.getRuntime().halt(0);
    }

    private JsonNode carryOut(JsonNode request) throws Exception {
        switch (request.get("do").asText()) {
            case "register":
                return register(request);
            case "instances":
                return instances(request);
            case "offer":
                return offer(request);
            case "take":
                return take(request);
            default:
                throw new IllegalArgumentException("unknown request " + request);
        }
    }

    private JsonNode register(JsonNode request) throws Exception {
        JsonNode given = request.get("instance");
        ServiceInstance<ModelEndpoint> instance = ServiceInstance.<ModelEndpoint>builder()
                .name(given.get("name").asText())
                .id(given.get("id").asText())
                .address(given.get("address").asText())
                .port(given.get("port").asInt())
                .payload(JSON.treeToValue(given.get("payload"), ModelEndpoint.class))
                .registrationTimeUTC(given.get("registration_time_utc").asLong())
                .serviceType(ServiceType.valueOf(given.get("service_type").asText()))
                .build();
        discovery(request.get("root").asText()).registerService(instance);
        return JSON.nullNode();
    }

    private JsonNode instances(JsonNode request) throws Exception {
        ArrayNode found = JSON.createArrayNode();
        for (ServiceInstance<ModelEndpoint> instance :
                discovery(request.get("root").asText()).queryForInstances(request.get("name").asText())) {
            ObjectNode shown = found.addObject();
            shown.put("name", instance.getName());
            shown.put("id", instance.getId());
            shown.put("address", instance.getAddress());
            shown.put("port", instance.getPort());
            shown.put("registration_time_utc", instance.getRegistrationTimeUTC());
            shown.put("service_type", instance.getServiceType().name());
            shown.set("payload", JSON.valueToTree(instance.getPayload()));
        }
        return found;
    }

    private JsonNode offer(JsonNode request) throws Exception {
        byte[] item = request.get("item").asText().getBytes(StandardCharsets.ISO_8859_1);
        if (!queue(request).offer(item)) {
            throw new IllegalStateException("Curator did not take the offer");
        }
        return JSON.nullNode();
    }

    private JsonNode take(JsonNode request) throws Exception {
        byte[] item = queue(request).poll(request.get("limit_ms").asLong(), TimeUnit.MILLISECONDS);
        return Optional.ofNullable(item)
                .<JsonNode>map(bytes -> JSON.getNodeFactory().textNode(new String(bytes, StandardCharsets.ISO_8859_1)))
                .orElse(JSON.nullNode());
    }

    private SimpleDistributedQueue queue(JsonNode request) {
        return new SimpleDistributedQueue(client, request.get("queue").asText());
    }

    private ServiceDiscovery<ModelEndpoint> discovery(String root) throws Exception {
        ServiceDiscovery<ModelEndpoint> discovery = discoveries.get(root);
        if (discovery == null) {
            discovery = ServiceDiscoveryBuilder.builder(ModelEndpoint.class)
                    .client(client)
                    .basePath(root)
                    .serializer(new JsonInstanceSerializer<>(ModelEndpoint.class))
                    .build();
            discovery.start();
            discoveries.put(root, discovery);
        }
        return discovery;
    }
}

/** What a registry entry says about a model. The order of the fields is the order on the wire. */
class ModelEndpoint {
    public Endpoint endpoint;
    public String name;
    public String version;
    public String containerId;
}

/** Where a model answers, and under which paths. */
class Endpoint {
    public String url;
    public Map<String, String> functions = new LinkedHashMap<>(Map.of("apply", "apply"));
}
