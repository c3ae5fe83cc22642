// What was written by hand, against what the document says by now. A route that it doesn't have yet
// agrees with everything.
import type { components, paths } from "../src/openapi.js";
import type * as ours from "../src/contract.js";

type Method = "get" | "post" | "delete";

type Json<Reply> = Reply extends { content: { "application/json": infer Body } } ? Body : never;

/** What a route tells when all is well; unknown while it is not in the document. */
type Told<Path extends string, How extends Method> = Path extends keyof paths
  ? paths[Path][How] extends { responses: infer Replies }
    ? Json<Replies[keyof Replies & (200 | 201)]>
    : unknown
  : unknown;

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : A) : A;

/** True; or, for the compiler to show, what the document says. */
type Agrees<Path extends string, How extends Method, Ours> =
  unknown extends Told<Path, How> ? true : Same<Told<Path, How>, Ours>;

type News = components["schemas"]["Job"];
type Known = Extract<keyof News, keyof ours.JobNews>;

type Expect<T extends true> = T;

export type Drift = [
  Expect<Same<Pick<News, Known>, Pick<ours.JobNews, Known>>>,
  Expect<Agrees<"/api/datasets", "get", ours.Dataset[]>>,
  Expect<Agrees<"/api/datasets", "post", ours.Dataset>>,
  Expect<Agrees<"/api/datasets/{dataset_id}", "get", ours.Dataset>>,
  Expect<Agrees<"/api/datasets/{dataset_id}", "delete", ours.DeletedDataset>>,
  Expect<Agrees<"/api/datasets/{dataset_id}/threads", "get", ours.DatasetThreads>>,
  Expect<Agrees<"/api/eval-runs/preview", "post", ours.Preview>>,
  Expect<Agrees<"/api/eval-runs/{run_id}/outcomes", "get", ours.Outcomes>>,
  Expect<Agrees<"/api/eval-runs/{run_id}/trials", "get", ours.Trials>>,
  Expect<Agrees<"/api/eval-runs/{run_id}/statistics", "get", ours.RunStatistics>>,
  Expect<Agrees<"/api/eval-runs/{run_id}/threads/{evaluation_id}", "get", ours.ThreadDetail>>,
  Expect<Agrees<"/api/eval-runs/{run_id}/logs/{log_id}", "get", ours.ApiLogTexts>>,
  Expect<Agrees<"/api/profiles", "get", ours.Profile[]>>,
  Expect<Agrees<"/api/providers", "get", ours.Provider[]>>,
  Expect<Agrees<"/api/session", "get", ours.Session>>,
  Expect<Agrees<"/api/session", "post", ours.Session>>,
];
