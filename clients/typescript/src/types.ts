// The API's values, by their names.
import type { JobNews } from "./contract.js";
import type { components } from "./openapi.js";

type Schemas = components["schemas"];

export type * from "./contract.js";

export type JobStatus = Schemas["JobStatus"];
export type Progress = Schemas["Progress"];

/** One request for work. */
export type Job = Schemas["Job"] & JobNews;

/** A job, as it is told to those who watch all of them. */
export type JobEvent = Omit<Job, "params" | "result">;

/** A job that was taken. */
export type SubmittedJob = Schemas["SubmittedJob"];

/** A new job that continues one that is over, in the same run. */
export type RetriedJob = Schemas["RetriedJob"];

/** One try at a job. */
export type Attempt = Schemas["Attempt"];

/** What is wrong with a request, and where. */
export type Problem = Schemas["FieldError"];

export type EvaluateBatch = Schemas["EvaluateBatch"];
export type EvaluateAdversarial = Schemas["EvaluateAdversarial"];

export type EvalRun = Schemas["EvalRun"];
export type SummaryStats = Schemas["SummaryStats"];
export type Correctness = Schemas["Correctness"];
export type Efficiency = Schemas["Efficiency"];
export type ThreadEvaluation = Schemas["ThreadEvaluation"];
export type ThreadEvaluations = Schemas["ThreadEvaluations"];
export type ApiLog = Schemas["ApiLog"];
export type ApiLogs = Schemas["ApiLogs"];
export type AdversarialEvaluation = Schemas["AdversarialEvaluation"];
export type AdversarialEvaluations = Schemas["AdversarialEvaluations"];
export type Case = Schemas["Case"];
export type CaseTrials = Schemas["CaseTrials"];
export type Dialogue = Schemas["Dialogue"];
export type Dialogues = Schemas["Dialogues"];
export type StressProfile = Schemas["StressProfile"];
export type CaseInput = Schemas["CaseInput"];
export type SavedCase = Schemas["SavedCase"];
export type PinnedCase = Schemas["PinnedCase"];
export type ForgottenCase = Schemas["ForgottenCase"];

export type Queue = Schemas["Queue"];
export type PausedQueue = Schemas["PausedQueue"];
export type Worker = Schemas["Worker"];

