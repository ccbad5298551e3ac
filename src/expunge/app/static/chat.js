"use strict";
// A question goes to the models before and after at the same time; what they say is shown as it comes, as text and nothing else.
const form = document.getElementById("ask");
const question = document.getElementById("question");
const stop = document.getElementById("stop");
const status = document.getElementById("said");
const answers = document.getElementById("answers");
const button = form.querySelector("button");
let leaving = null;

function element(name, text, parent) {
  const made = document.createElement(name);
  made.textContent = text;
  made.dir = "auto";
  parent.append(made);
  return made;
}

async function ask(side, text, place, signal) {
  const response = await fetch(form.dataset.run + "/answer", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ side, question: text }),
    signal,
  });
  if (!response.ok) throw new Error("the app answered " + response.status);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "", ended = false;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\n");
    rest = lines.pop();
    for (const line of lines) {
      const message = JSON.parse(line);
      if (message.error) throw new Error(message.error);
      if (message.end) ended = true;
      if (message.text) place.textContent += message.text;
    }
  }
  if (!ended) throw new Error("the connection was lost before the answer ended");
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const text = question.value.trim();
  if (!text || leaving) return;
  leaving = new AbortController();
  button.disabled = true;
  stop.disabled = false;
  const section = document.createElement("section");
  element("h2", text, section);
  answers.prepend(section);
  const places = ["before", "after"].map((side) => {
    const column = document.createElement("div");
    section.append(column);
    element("h3", side === "before" ? "Before" : "After", column);
    const said = element("p", "", column);
    said.setAttribute("aria-busy", "true");
    return [side, said];
  });
  status.textContent = "Both models are answering …";
  const wrong = [];
  await Promise.all(places.map(async ([side, place]) => {
    try {
      await ask(side, text, place, leaving.signal);
    } catch (error) {
      if (error.name !== "AbortError") wrong.push(side + ": " + error.message);
    }
    place.removeAttribute("aria-busy");
  }));
  if (leaving.signal.aborted) status.textContent = "Stopped.";
  else if (wrong.length) status.textContent = "This did not work. " + wrong.join("; ");
  else { status.textContent = "Both have answered."; question.select(); }
  leaving = null;
  button.disabled = false;
  stop.disabled = true;
});
stop.addEventListener("click", () => leaving && leaving.abort());
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); }
});
