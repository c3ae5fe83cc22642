// What the API tells and its document doesn't describe yet, written by hand. `checks/drift.ts` fails
// once the document describes it otherwise.
import type { components } from "./openapi.js";

type Schemas = components["schemas"];

/** What is newer about a job than its first clients. */
export interface JobNews {
  /** Goes up with every change. */
  revision: number;
  /** While it is queued and due: at most so many jobs go before it, counted to 1000. */
  ahead: number | null;
  /** What its params call it. */
  name: string | null;
  /** The run that holds what it finds; null where its type has none. */
  run_id: string | null;
  /** The job that continues this one. */
  continued_by: string | null;
}

/** How many messages a dataset has, and what is in them. */
export interface Contents {
  messages: number;
  threads: number;
  users: number;
  first_at: string | null;
  last_at: string | null;
  /** Messages by routed intent, most frequent first. */
  intents: { [label: string]: number };
  messages_with_images: number;
  messages_with_errors: number;
}

/** Conversations that were uploaded, and can be evaluated again and again. */
export interface Dataset extends Contents {
  /** "sha256:…" of the file. */
  id: string;
  name: string;
  format: "csv" | "jsonl";
  size_bytes: number;
  /** Our column: their header. Null: the file has our headers. */
  mapping: { [column: string]: string } | null;
  owner: string;
  created_at: string;
}

/** One conversation of a dataset, as far as it takes to choose it. */
export interface DatasetThread {
  position: number;
  thread_id: string;
  user_id: string | null;
  messages: number;
  first_at: string | null;
  last_at: string | null;
  has_images: boolean;
  has_errors: boolean;
  /** How it begins. */
  opening: string;
}

/** A page of a dataset's conversations, in its order. */
export interface DatasetThreads {
  dataset_id: string;
  threads: DatasetThread[];
  total: number;
}

export interface DeletedDataset {
  id: string;
  deleted: true;
}

export interface BadRow {
  row: number;
  column: string | null;
  reason: string;
}

/** What would be evaluated, and at what price, before anything is stored. */
export interface Preview {
  format: "csv" | "jsonl" | null;
  columns: { name: string; samples: string[] }[];
  /** Our column: their header; as given, or the best guess. */
  mapping: { [column: string]: string };
  missing_columns: string[];
  statistics: Contents | null;
  chosen: { threads: number; messages: number } | null;
  unknown_thread_ids: string[];
  llm_calls: { intent: number; correctness: number; efficiency: number; total: number } | null;
  bad_rows: BadRow[];
  more_bad_rows: number;
}

/** Who one is to the API. */
export interface Session {
  name: string;
  right: "read" | "submit" | "admin";
  /** False: everybody on this machine may do everything. */
  needs_token: boolean;
}

/** What a conversation came to, without its result. */
export interface Outcome {
  id: number;
  thread_id: string;
  intent_accuracy: number | null;
  worst_correctness: Schemas["Correctness"] | null;
  efficiency_verdict: Schemas["Efficiency"] | null;
  success_status: boolean | null;
  /** Nothing could be measured; `error` says why. */
  failed: boolean;
  error: string | null;
  missing_verdicts: number;
  messages: number | null;
  /** That it took to evaluate it. */
  duration_ms: number;
  created_at: string;
}

export interface Outcomes {
  run_id: string;
  outcomes: Outcome[];
  /** Of the run, not of the page. */
  total: number;
}

/** What a trial of a case came to, without its transcript. */
export interface Trial {
  id: number;
  case_id: string;
  trial: number;
  label: string;
  category: string;
  difficulty: Schemas["Difficulty"];
  persona: string;
  tactic: string | null;
  verdict: Schemas["StressVerdict"] | null;
  /** Of an attack, that is the bot's failure. */
  goal_achieved: boolean | null;
  total_turns: number;
  stop_reason: Schemas["StopReason"];
  error: string | null;
  credential: string | null;
  first_failing_turn: number | null;
  created_at: string;
}

export interface Trials {
  run_id: string;
  trials: Trial[];
  /** Of the run, not of the page. */
  total: number;
}

/** A share with its 95 % interval; null: nothing was measured. */
export interface Share {
  verdict: string;
  count: number;
  share: number | null;
  low: number | null;
  high: number | null;
}

/** How often the router's label is the judge's, and which were taken for which. */
export interface IntentFigures {
  accuracy: number;
  low: number;
  high: number;
  correct: number;
  compared: number;
  threads: number;
  labels: string[];
  /** A row for each label expected, a column for each predicted. */
  matrix: number[][];
}

export interface BatchStatistics {
  threads: number;
  failed: number;
  correctness: Share[];
  efficiency: Share[];
  intent: IntentFigures | null;
  coverage: { [evaluator: string]: { judged: number; attempted: number; rate: number | null } };
  failures: { evaluator: string; reason: string; count: number; example: string | null }[];
}

/** The LLM calls of one evaluator, every attempt one. */
export interface EvaluatorCalls {
  evaluator: string;
  calls: number;
  failed_calls: number;
  p50_ms: number | null;
  p95_ms: number | null;
  max_ms: number | null;
  tokens_in: number | null;
  tokens_out: number | null;
}

export interface LlmStatistics {
  calls: number;
  failed_calls: number;
  tokens_in: number | null;
  tokens_out: number | null;
  evaluators: EvaluatorCalls[];
  /** The n-th count is between the n-th edge and the next. */
  latency: { edges_ms: number[]; counts: { [evaluator: string]: number[] } };
  timeline: {
    at: string;
    calls: number;
    failed_calls: number;
    tokens_in: number | null;
    tokens_out: number | null;
  }[];
}

/** The figures of a run so far. */
export interface RunStatistics {
  run_id: string;
  command: string;
  status: Schemas["EvalRun"]["status"];
  total_items: number | null;
  batch: BatchStatistics | null;
  adversarial: { [key: string]: unknown } | null;
  llm: LlmStatistics;
}

/** A user message and the bot's answer. */
export interface Turn {
  number: number;
  timestamp: string | null;
  user_text: string;
  bot_text: string;
  routed_intent: string | null;
  routed_query_type: string | null;
  has_image: boolean;
  error: string | null;
  session_id: string | null;
  response_id: string | null;
}

/** A conversation, and what was found in it. */
export interface ThreadDetail {
  evaluation: Schemas["ThreadEvaluation"];
  /** Null: the run did not read a dataset. */
  turns: Turn[] | null;
  dataset_id: string | null;
  previous_id: number | null;
  next_id: number | null;
}

/** One attempt at one LLM call, with its texts. */
export type ApiLogTexts = Schemas["ApiLog"] & {
  prompt: string;
  system_prompt: string | null;
  response: string | null;
  request_id: string | null;
};

/** An app that can be evaluated. */
export interface Profile {
  app_id: string;
  name: string;
  about: string;
  evaluators: string[];
  has_adversarial: boolean;
}

/** An LLM provider, as far as the server can use it. */
export interface Provider {
  name: string;
  ready: boolean;
  /** The one that is used where a job names none. */
  model: string | null;
  /** Why it is not ready. */
  reason: string | null;
}
