// A program that talks to Paddock through types generated from its /openapi.json, and prints, as JSON,
// what it saw. PADDOCK_URL says where the service is.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const paddock = createClient<paths>({ baseUrl: process.env["PADDOCK_URL"]! });

type Job = components["schemas"]["JobView"];
type Parameters = components["schemas"]["tasks_HeavyCpuTaskParameters"];
type Problem = components["schemas"]["ProblemView"];

// Submit a job and wait for its end. Its result has the type that the task returns.
const submitted = await paddock.POST("/tasks/heavy_cpu_task", {
  params: { query: { wait: 30 }, header: { "Idempotency-Key": crypto.randomUUID() } },
  body: { n: 10 },
});
const job = answered(submitted);
const sum: number = job.result ?? -1;

// Submit one and come back for it.
const later = answered(await paddock.POST("/tasks/heavy_cpu_task", { body: { n: 3 } }));
let seen: Job = later;
while (!["finished", "failed", "canceled"].includes(seen.status)) {
  const path = { job_id: later.id };
  seen = answered(await paddock.GET("/jobs/{job_id}", { params: { path, query: { wait: 10 } } }));
}

// List.
const page = answered(
  await paddock.GET("/jobs", { params: { query: { task: "heavy_cpu_task", status: "finished" } } }),
);
const listed: string[] = page.jobs.map((each) => each.id);

// Parameters with defaults need not be given.
const resized = await paddock.POST("/tasks/resize_image", { body: { path: "none.jpg" } });

// Many at once.
const batch = answered(
  await paddock.POST("/tasks/heavy_cpu_task/batch", { body: [{ n: 1 }, { n: 2 }] }),
);

// What is refused is a problem with a type of its own.
const refused = await paddock.POST("/tasks/heavy_cpu_task", { body: { n: -5 } });
const problem: Problem = refused.error!;
const fields: string[] = (problem.errors ?? []).map((row) => row.field);
const unknown = await paddock.GET("/jobs/{job_id}", { params: { path: { job_id: "none" } } });

// What the service would refuse does not compile.
export const wrong = [
  // @ts-expect-error: n is a number
  () => paddock.POST("/tasks/heavy_cpu_task", { body: { n: "10" } }),
  // @ts-expect-error: it takes n
  () => paddock.POST("/tasks/heavy_cpu_task", { body: {} }),
  // @ts-expect-error: it takes no m
  (): Parameters => ({ n: 10, m: 1 }),
  // @ts-expect-error: there is no such task
  () => paddock.POST("/tasks/light_cpu_task", { body: { n: 10 } }),
  // @ts-expect-error: a delay is in seconds
  () => paddock.POST("/tasks/heavy_cpu_task", { params: { query: { delay: "1h" } }, body: { n: 1 } }),
  // @ts-expect-error: there is no such option
  () => paddock.POST("/tasks/heavy_cpu_task", { params: { query: { dealy: 1 } }, body: { n: 1 } }),
  // @ts-expect-error: there is no such status
  () => paddock.GET("/jobs", { params: { query: { status: "done" } } }),
  // @ts-expect-error: the result of this task is a number
  (): string => job.result ?? "",
];

console.log(
  JSON.stringify({
    status: [submitted.response.status, job.status],
    sum,
    later: [seen.id === later.id, seen.status, seen.result],
    listed: listed.includes(job.id) && listed.includes(later.id),
    resized: answered(resized).parameters,
    batch: [batch.count, batch.jobs.length],
    problem: [problem.status, problem.type, fields],
    unknown: [unknown.response.status, unknown.error?.type],
  }),
);

function answered<T>(exchange: { data?: T; error?: unknown; response: Response }): T {
  if (exchange.data === undefined) {
    throw new Error(`${exchange.response.status} ${JSON.stringify(exchange.error)}`);
  }
  return exchange.data;
}
