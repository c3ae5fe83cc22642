// The API's values, by their names: what its OpenAPI document says of them.
import type { components } from "./openapi.js";

type Schemas = components["schemas"];

/** One request for work. */
export type Job = Schemas["Job"];
export type JobStatus = Job["status"];
export type Progress = Schemas["Progress"];
/** A job, as it is told to those who watch all of them: without params and result. */
export type JobEvent = Schemas["JobEvent"];
/** A queue that has moved on: how many stand before the first of those that wait in it. */
export type QueueEvent = Schemas["QueueEvent"];
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

/** Conversations that were uploaded, and can be evaluated again and again. */
export type Dataset = Schemas["Dataset"];
export type DatasetThread = Schemas["DatasetThread"];
export type DatasetThreads = Schemas["DatasetThreads"];
export type DeletedDataset = Schemas["DeletedDataset"];
/** What would be evaluated, and at what price, before anything is stored. */
export type Preview = Schemas["Preview"];
export type BadRow = Schemas["BadRow"];

export type EvalRun = Schemas["EvalRun"];
export type SummaryStats = Schemas["SummaryStats"];
export type ThreadEvaluation = Schemas["ThreadEvaluation"];
export type ThreadEvaluations = Schemas["ThreadEvaluations"];
export type Correctness = NonNullable<ThreadEvaluation["worst_correctness"]>;
export type Efficiency = NonNullable<ThreadEvaluation["efficiency_verdict"]>;
/** A conversation, and what was found in it. */
export type ThreadDetail = Schemas["ThreadDetail"];
export type Turn = Schemas["Turn"];
/** What a conversation came to, without its result. */
export type Outcome = Schemas["Outcome"];
export type Outcomes = Schemas["Outcomes"];
/** The figures of a run so far. */
export type RunStatistics = Schemas["RunStatistics"];
export type BatchStatistics = Schemas["BatchStatistics"];
export type Share = Schemas["Share"];
export type IntentFigures = Schemas["IntentFigures"];
export type LlmStatistics = Schemas["LlmStatistics"];
export type EvaluatorCalls = Schemas["EvaluatorCalls"];
export type ApiLog = Schemas["ApiLog"];
export type ApiLogs = Schemas["ApiLogs"];
/** One attempt at one LLM call, with its texts. */
export type ApiLogTexts = Schemas["ApiLogTexts"];

export type AdversarialEvaluation = Schemas["AdversarialEvaluation"];
export type AdversarialEvaluations = Schemas["AdversarialEvaluations"];
/** What a trial of a case came to, without its transcript. */
export type Trial = Schemas["Trial"];
export type Trials = Schemas["Trials"];
export type Case = Schemas["Case"];
export type CaseTrials = Schemas["CaseTrials"];
export type Dialogue = Schemas["Dialogue"];
export type Dialogues = Schemas["Dialogues"];
export type StressProfile = Schemas["StressProfile"];
export type CaseInput = Schemas["CaseInput"];
export type SavedCase = Schemas["SavedCase"];
export type PinnedCase = Schemas["PinnedCase"];
export type ForgottenCase = Schemas["ForgottenCase"];

/** An app that can be evaluated. */
export type Profile = Schemas["KnownProfile"];
/** An LLM provider, as far as the server can use it. */
export type Provider = Schemas["KnownProvider"];
/** Who one is to the API. */
export type Session = Schemas["Session"];
export type Queue = Schemas["Queue"];
export type PausedQueue = Schemas["PausedQueue"];
export type Worker = Schemas["Worker"];
