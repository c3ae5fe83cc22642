// Other tabs of this browser in which the same is open. Each answers a new one, and says when it goes.

export class OtherTabs {
  /** @param {string} name what is open */
  constructor(name) {
    this.name = name;
    this.id = crypto.getRandomValues(new Uint32Array(4)).join("-");
    /** @type {Set<string>} */
    this.open = new Set();
    /** @type {BroadcastChannel | null} */
    this.channel = null;
  }

  enter() {
    if (this.channel) return;
    this.channel = new BroadcastChannel(`evalqueue-${this.name}`);
    this.channel.onmessage = ({ data: { id, event } }) => {
      if (event === "left") this.open.delete(id);
      else this.open.add(id);
      if (event === "entered") this.say("here");
    };
    this.say("entered");
  }

  leave() {
    this.say("left");
    this.channel?.close();
    this.channel = null;
    this.open.clear();
  }

  /** @param {"entered" | "here" | "left"} event */
  say(event) {
    this.channel?.postMessage({ id: this.id, event });
  }
}
