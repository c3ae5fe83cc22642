// One turn of a conversation: the user's message, what stood behind the answer, and the answer; where
// there is another answer to the same message: both, by the names that verdicts on them have.

import * as format from "../format/values.js";
import { html, nothing } from "../vendor/lit-html/lit-html.js";
import { banner } from "./basics.js";
import { behindTheAnswer } from "./behind-the-answer.js";
import { bubble } from "./transcript.js";

/**
 * @param {import("../client/index.js").Turn} turn
 * @param {object} [options]
 * @param {import("./transcript.js").Quote[]} [options.quotes] marked in the text
 * @param {string} [options.words] that were searched for: marked, too
 * @param {unknown} [options.verdicts] shown below
 */
export function turnArticle(turn, { quotes = [], words = "", verdicts = nothing } = {}) {
  const { alternative } = turn;
  const botName = turn.routed_intent ? `Bot, ${turn.routed_intent}` : "Bot";
  const name = alternative == null ? botName : `First answer: ${botName}`;
  return html`<article class="turn" id="turn-${turn.number}" aria-label="Turn ${turn.number}">
    <header>
      <strong>${turn.number}</strong>${
        turn.timestamp
          ? html`<time datetime=${turn.timestamp}>${format.moment(turn.timestamp)}</time>`
          : nothing
      }
      ${
        turn.latency_seconds == null
          ? nothing
          : html`<span class="quiet"
              >answered in ${format.milliseconds(turn.latency_seconds * 1000)}</span
            >`
      }
      ${turn.has_image ? html`<span class="badge tone-fair">photo</span>` : nothing}
    </header>
    ${bubble({ sender: "user", name: "User", text: turn.user_text, quotes, words })}
    ${behindTheAnswer(turn)} ${bubble({ sender: "bot", name, text: turn.bot_text, quotes, words })}
    ${
      alternative == null
        ? nothing
        : bubble({ sender: "bot", name: "Second answer", text: alternative, quotes })
    }
    ${turn.error ? banner("failed", "Error in production", turn.error) : nothing} ${verdicts}
  </article>`;
}
