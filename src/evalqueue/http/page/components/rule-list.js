// The rules of an app, and whether the conversation followed each.

import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { badge } from "./basics.js";

const ORDER = ["VIOLATED", "FOLLOWED", "NOT_APPLICABLE", "NOT_EVALUATED"];

/** @typedef {{ rule_id: string, section: string, status: string, evidence: string }} Rule */

/** @param {Rule[] | null | undefined} rules */
export function ruleList(rules) {
  if (!rules?.length) return nothing;
  const sorted = [...rules].sort((a, b) => ORDER.indexOf(a.status) - ORDER.indexOf(b.status));
  const violated = rules.filter(({ status }) => status === "VIOLATED").length;
  return html`<details ?open=${violated > 0}>
    <summary>
      Rules
      <span class="quiet small"
        >${
          violated ? `${violated} of ${rules.length} violated` : `${rules.length}, none violated`
        }</span
      >
    </summary>
    <ul role="list" class="stack-tight">
      ${sorted.map(
        (rule) =>
          html`<li>
            <div class="row">${badge(rule.status)}<code>${rule.rule_id}</code></div>
            ${rule.evidence ? html`<p class="small quiet">${rule.evidence}</p>` : nothing}
          </li>`,
      )}
    </ul>
  </details>`;
}
