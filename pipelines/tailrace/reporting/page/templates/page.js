"use strict";
// The page reads without this: it adds a button to each command, and follows a run in the live page.
for (const code of document.querySelectorAll("code.command")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy: " + code.textContent);
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  code.after(" ", button);
}
const live = document.getElementById("live");
if (live && window.EventSource && location.protocol.startsWith("http")) {
  const list = document.getElementById("sending");
  const age = document.getElementById("age");
  const source = new EventSource(live.dataset.events);
  const text = (entry) => {
    const left = entry.remaining_seconds === null ? "" : `, about ${entry.remaining_seconds} s left`;
    return `${entry.audience} to ${entry.destination}: ${entry.sent.toLocaleString("en")} of ` +
      `${entry.planned.toLocaleString("en")} members, ` +
      `${entry.messages_per_second.toLocaleString("en")} messages/s${left}`;
  };
  source.addEventListener("message", (message) => {
    const event = JSON.parse(message.data);
    if (event.state && event.state !== live.dataset.state) { location.reload(); return; }
    live.hidden = !event.running;
    const entries = event.sending || [];
    const lines = entries.length ? entries : event.running ? [null] : [];
    list.replaceChildren(...lines.map((entry) => {
      const item = document.createElement("li");
      item.textContent = entry ? text(entry) : `Run ${event.running} is running and sends nothing at the moment`;
      if (entry) {
        const bar = document.createElement("progress");
        bar.max = entry.planned; bar.value = entry.sent;
        bar.setAttribute("aria-label", `Sent of ${entry.audience}`);
        item.append(" ", bar);
      }
      return item;
    }));
    if (event.read_at) { age.dataset.readAt = event.read_at; }
  });
}
const read = document.getElementById("age");
if (read) {
  const said = read.textContent;
  setInterval(() => {
    const seconds = Math.max(0, Math.round((Date.now() - Date.parse(read.dataset.readAt)) / 1000));
    read.textContent = said.replace(/at [0-9:]+ UTC/, (when) => `${when} (${seconds} s ago)`);
  }, 1000);
}
