// Names for the schemas of the API's OpenAPI document.
import type { components } from "./openapi.js";

type Schemas = components["schemas"];

/** One request for work. */
export type Job = Schemas["Job"];
export type JobStatus = Job["status"];
export type Progress = Schemas["Progress"];
/** A job without params and result, as a watch of all jobs receives it. */
export type JobEvent = Schemas["JobEvent"];
/** A queue that has moved: how many jobs are before each of the first that wait. */
export type QueueEvent = Schemas["QueueEvent"];
/** A job that was accepted. */
export type SubmittedJob = Schemas["SubmittedJob"];
/** A new job that continues one that has ended, in the same run. */
export type RetriedJob = Schemas["RetriedJob"];
/** One attempt at a job. */
export type Attempt = Schemas["Attempt"];
/** An invalid field of a request. */
export type Problem = Schemas["FieldError"];
export type EvaluateBatch = Schemas["EvaluateBatch"];
export type EvaluateAdversarial = Schemas["EvaluateAdversarial"];

/** Uploaded conversations, which can be evaluated any number of times. */
export type Dataset = Schemas["Dataset"];
export type DatasetThread = Schemas["DatasetThread"];
export type DatasetThreads = Schemas["DatasetThreads"];
export type DeletedDataset = Schemas["DeletedDataset"];
/** Messages of one conversation, as they happen. */
export type PostedThread = Schemas["PostedThread"];
export type PostedThreads = Schemas["PostedThreads"];
export type Traces = Schemas["Traces"];
export type ExportedTraces = Schemas["ExportedTraces"];
/** A position of a source, and what became of the conversations that were read. */
export type SourceRule = Schemas["SourceRule"];
/** What a job would evaluate, and how many LLM calls it would make. */
export type Preview = Schemas["Preview"];
export type Estimate = Schemas["Estimate"];
export type BadRow = Schemas["BadRow"];

export type EvalRun = Schemas["EvalRun"];
export type SummaryStats = Schemas["SummaryStats"];
export type ThreadEvaluation = Schemas["ThreadEvaluation"];
export type ThreadEvaluations = Schemas["ThreadEvaluations"];
export type Correctness = NonNullable<ThreadEvaluation["worst_correctness"]>;
export type Efficiency = NonNullable<ThreadEvaluation["efficiency_verdict"]>;
/** A conversation with its messages and its results. */
export type ThreadDetail = Schemas["ThreadDetail"];
export type Turn = Schemas["Turn"];
/** The scores of a conversation, without its details. */
export type Outcome = Schemas["Outcome"];
export type Outcomes = Schemas["Outcomes"];
/** The figures of a run so far. */
export type RunStatistics = Schemas["RunStatistics"];
/** A link to the report of a run. */
export type RunShare = Schemas["RunShare"];
export type RunShares = Schemas["RunShares"];
export type SharedRun = Schemas["SharedRun"];
export type NewLabel = Schemas["NewLabel"];
export type AddedLabels = Schemas["AddedLabels"];
export type RunLabels = Schemas["RunLabels"];
export type AddNote = Schemas["AddNote"];
export type ThreadNote = Schemas["ThreadNote"];
export type RunNotes = Schemas["RunNotes"];
/** Conversations of a run that people are asked to label. */
export type Watched = Schemas["Watched"];
export type Alert = Schemas["Alert"];
export type Alerts = Schemas["Alerts"];
export type AddAlert = Schemas["AddAlert"];
export type RemovedAlert = Schemas["RemovedAlert"];
export type TestedAlert = Schemas["TestedAlert"];
export type AnnotationQueue = Schemas["AnnotationQueue"];
export type AnnotationQueues = Schemas["AnnotationQueues"];
export type AnnotationProgress = Schemas["AnnotationProgress"];
export type CreateAnnotationQueue = Schemas["CreateAnnotationQueue"];
/** A conversation to label, without what the judge has said. */
export type OfferedItem = Schemas["OfferedItem"];
export type OfferedAnnotation = Schemas["OfferedAnnotation"];
/** What judge and people say about an item that was labelled. */
export type LabelledAnnotation = Schemas["LabelledAnnotation"];
export type ReleasedAnnotation = Schemas["ReleasedAnnotation"];
export type RunCalibration = Schemas["RunCalibration"];
export type RunComparison = Schemas["RunComparison"];
export type ScoreCalibration = Schemas["ScoreCalibration"];
export type ScoreComparison = Schemas["ScoreComparison"];
export type BatchStatistics = Schemas["BatchStatistics"];
export type EvaluatorStatistics = Schemas["EvaluatorStatistics"];
export type ScoreStatistics = Schemas["ScoreStatistics"];
export type LabelShare = Schemas["LabelShare"];
/** What an evaluator of a run measures. */
export type EvaluatorDeclaration = Schemas["EvaluatorDeclaration"];
export type ScoreDeclaration = Schemas["ScoreDeclaration"];
export type Score = Schemas["Score"];
export type LlmStatistics = Schemas["LlmStatistics"];
export type EvaluatorCalls = Schemas["EvaluatorCalls"];
export type ApiLog = Schemas["ApiLog"];
export type ApiLogs = Schemas["ApiLogs"];
/** One attempt at one LLM call, with its texts. */
export type ApiLogTexts = Schemas["ApiLogTexts"];

export type AdversarialEvaluation = Schemas["AdversarialEvaluation"];
export type AdversarialEvaluations = Schemas["AdversarialEvaluations"];
/** The verdict of a trial, without its transcript. */
export type Trial = Schemas["Trial"];
export type Trials = Schemas["Trials"];
export type Case = Schemas["Case"];
export type CaseTrials = Schemas["CaseTrials"];
export type Dialogue = Schemas["Dialogue"];
export type Dialogues = Schemas["Dialogues"];
/** What an app can be tested with. */
export type AdversarialApp = Schemas["AdversarialApp"];
export type CaseInput = Schemas["CaseInput"];
export type SavedCase = Schemas["SavedCase"];
export type PinnedCase = Schemas["PinnedCase"];
export type DeletedCase = Schemas["DeletedCase"];

/** An evaluator that is installed. */
export type Evaluator = Schemas["KnownEvaluator"];
/** An app that can be evaluated. */
export type App = Schemas["KnownApp"];
/** An app with its document and its versions. */
export type AppDetails = Schemas["App"];
export type AppDraft = Schemas["AppDraft"];
export type DeletedApp = Schemas["DeletedApp"];
/** How an app's document is written. */
export type Notation = NonNullable<Schemas["AddApp"]["notation"]>;
export type TryEvaluators = Schemas["TryEvaluators"];
/** What a job has found that tries evaluators. */
export type Tried = Schemas["Tried"];
/** An LLM provider, and whether the server can use it. */
export type Provider = Schemas["KnownProvider"];
/** The signed-in user. */
export type Session = Schemas["Session"];
export type Queue = Schemas["Queue"];
export type PausedQueue = Schemas["PausedQueue"];
export type Worker = Schemas["Worker"];
/** A change, and who made it. */
export type AuditEntry = Schemas["AuditEntry"];
