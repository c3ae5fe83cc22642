// The parts of an app's document that the form has fields for.

/** @typedef {Record<string, any>} Document JSON */

/**
 * @typedef {object} Field
 * @property {string[]} path in its part of the document
 * @property {string} title
 * @property {"line" | "text" | "words" | "lines" | "check" | "number"} [kind]
 * @property {string[]} [choices]
 * @property {string} [hint]
 * @property {boolean} [isOptional] empty text removes it
 * @property {boolean} [usual] what an absent "check" means
 * @property {(part: Document) => boolean} [isShown]
 * @property {(part: Document, value: unknown) => Document} [restart] the part after another choice
 */

/**
 * @typedef {object} Section
 * @property {string} key in the document
 * @property {string} title
 * @property {string} item what a part is called
 * @property {string} hint
 * @property {Document} fresh a new part
 * @property {Field[]} fields
 */

/** @type {Field[]} */
export const HEAD = [
  { path: ["app_id"], title: "Id", hint: "What jobs call it." },
  { path: ["name"], title: "Name" },
  {
    path: ["about"],
    title: "What the bot is for",
    kind: "text",
    hint: "Judges read it: who uses the bot, what it can and must not do, what is ideal.",
  },
];

/** @param {Document} part */
const isOwn = (part) => !("use" in part);
/** @param {string} kind */
const isOf = (kind) => (/** @type {Document} */ part) => isOwn(part) && part.output?.kind === kind;

/** @param {string} kind */
const isCheck = (kind) => (/** @type {Document} */ part) => part.kind === kind;

/** @type {Record<string, Document>} what a check of each kind begins with */
const FRESH_CHECKS = {
  contains: { texts: [], match: "all" },
  regex: { pattern: "", must_match: true },
  equals: {},
  json_schema: { schema: { type: "object" } },
  sums: { column: "", total: "total" },
  length: { maximum: 500, unit: "characters" },
  language: { languages: [] },
  latency: { max_seconds: 5, from_timestamps: false },
  personal_data: { data: ["emails", "phones", "cards"] },
  tool_called: { tool: "", must_be_called: true },
};

/** @type {Section[]} */
export const SECTIONS = [
  {
    key: "intents",
    title: "Intents",
    item: "intent",
    hint: "The labels of the bot's router, spelt as in the data.",
    fresh: { name: "", description: "" },
    fields: [
      { path: ["name"], title: "Name" },
      { path: ["description"], title: "When a message belongs here" },
      { path: ["examples"], title: "Examples, one a line", kind: "lines" },
    ],
  },
  {
    key: "query_types",
    title: "Kinds of messages",
    item: "kind",
    hint: "What kind of request a message is.",
    fresh: { name: "", description: "" },
    fields: [
      { path: ["name"], title: "Name" },
      { path: ["description"], title: "Description" },
    ],
  },
  {
    key: "thread_types",
    title: "Kinds of conversations",
    item: "kind of conversation",
    hint: "Efficiency is judged only where it applies.",
    fresh: { name: "", description: "", has_efficiency: true },
    fields: [
      { path: ["name"], title: "Name" },
      { path: ["description"], title: "Description" },
      { path: ["has_efficiency"], title: "Efficiency is judged", kind: "check" },
    ],
  },
  {
    key: "rules",
    title: "Rules",
    item: "rule",
    hint: "What the bot has to do. The scopes say which evaluators ask.",
    fresh: { rule_id: "", section: "", text: "", scopes: ["efficiency"] },
    fields: [
      { path: ["rule_id"], title: "Id" },
      { path: ["section"], title: "Section" },
      { path: ["text"], title: "Rule", kind: "text" },
      {
        path: ["scopes"],
        title: "Scopes",
        kind: "words",
        hint: "efficiency, correctness, adversarial, or names of evaluators",
      },
    ],
  },
  {
    key: "knowledge",
    title: "Knowledge",
    item: "text",
    hint: "What answers have to agree with.",
    fresh: { name: "", text: "" },
    fields: [
      { path: ["name"], title: "Name" },
      { path: ["text"], title: "Text", kind: "text" },
    ],
  },
  {
    key: "evaluators",
    title: "Evaluators of its own",
    item: "evaluator",
    hint: "Criteria that a judge is asked about each turn or conversation.",
    fresh: {
      name: "",
      scope: "conversation",
      prompt: "{{transcript}}",
      output: { kind: "category", labels: ["YES", "NO"], good: ["YES"], bad: ["NO"] },
    },
    fields: [
      { path: ["use"], title: "Of the catalogue", isShown: (part) => !isOwn(part) },
      { path: ["name"], title: "Name", isShown: isOwn },
      {
        path: ["scope"],
        title: "Judges each",
        choices: ["conversation", "turn", "pair"],
        isShown: isOwn,
      },
      {
        path: ["prompt"],
        title: "Criterion",
        kind: "text",
        hint: "Filled in: {{transcript}}; of a turn {{user_message}}, {{answer}}.",
        isShown: isOwn,
      },
      {
        path: ["output", "kind"],
        title: "Answer",
        choices: ["category", "boolean", "number"],
        isShown: isOwn,
      },
      {
        path: ["output", "labels"],
        title: "Labels, one a line",
        kind: "lines",
        isShown: isOf("category"),
      },
      { path: ["output", "good"], title: "Good labels", kind: "words", isShown: isOf("category") },
      {
        path: ["output", "bad"],
        title: "Bad labels, the worst first",
        kind: "words",
        isShown: isOf("category"),
      },
      { path: ["output", "minimum"], title: "From", kind: "number", isShown: isOf("number") },
      { path: ["output", "maximum"], title: "To", kind: "number", isShown: isOf("number") },
    ],
  },
  {
    key: "checks",
    title: "Checks",
    item: "check",
    hint: "What a program looks at, without a judge.",
    fresh: { name: "", kind: "contains", texts: [] },
    fields: [
      { path: ["name"], title: "Name" },
      {
        path: ["kind"],
        title: "Kind",
        choices: Object.keys(FRESH_CHECKS),
        restart: (part, value) => ({
          name: part.name,
          ...(part.scope ? { scope: part.scope } : {}),
          kind: value,
          ...structuredClone(FRESH_CHECKS[String(value)]),
        }),
      },
      {
        path: ["scope"],
        title: "Looks at",
        choices: ["every_answer", "last_answer", "conversation"],
      },
      { path: ["pattern"], title: "RE2 expression", isShown: isCheck("regex") },
      {
        path: ["must_match"],
        title: "It has to match",
        kind: "check",
        usual: true,
        isShown: isCheck("regex"),
      },
      { path: ["texts"], title: "Texts, one a line", kind: "lines", isShown: isCheck("contains") },
      {
        path: ["match"],
        title: "It contains",
        choices: ["all", "any", "none"],
        isShown: isCheck("contains"),
      },
      {
        path: ["text"],
        title: "Text",
        hint: "Empty: the reference answer.",
        isOptional: true,
        isShown: isCheck("equals"),
      },
      { path: ["column"], title: "Column", isShown: isCheck("sums") },
      { path: ["total"], title: "Row of the total", isShown: isCheck("sums") },
      { path: ["minimum"], title: "At least", kind: "number", isShown: isCheck("length") },
      { path: ["maximum"], title: "At most", kind: "number", isShown: isCheck("length") },
      {
        path: ["unit"],
        title: "Unit",
        choices: ["characters", "words"],
        isShown: isCheck("length"),
      },
      {
        path: ["languages"],
        title: "Languages",
        kind: "words",
        hint: "Codes such as en. Empty: the user's.",
        isShown: isCheck("language"),
      },
      {
        path: ["max_seconds"],
        title: "Seconds at most",
        kind: "number",
        isShown: isCheck("latency"),
      },
      {
        path: ["from_timestamps"],
        title: "Where no latency is recorded: by the messages' times",
        kind: "check",
        isShown: isCheck("latency"),
      },
      {
        path: ["data"],
        title: "What it must not have",
        kind: "words",
        isShown: isCheck("personal_data"),
      },
      { path: ["tool"], title: "Tool", isShown: isCheck("tool_called") },
      {
        path: ["must_be_called"],
        title: "It has to be called",
        kind: "check",
        usual: true,
        isShown: isCheck("tool_called"),
      },
    ],
  },
];
