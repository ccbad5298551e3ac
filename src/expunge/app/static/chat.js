"use strict";
// A question goes to the model before and to the one after; what they say is shown as it comes, as text and nothing else.
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
    return [side, element("p", "", column)];
  });
  try {
    for (const [side, place] of places) {
      status.textContent = "The model " + side + " is answering …";
      await ask(side, text, place, leaving.signal);
    }
    status.textContent = "Both have answered.";
    question.select();
  } catch (error) {
    status.textContent = error.name === "AbortError" ? "Stopped." : "This did not work: " + error.message;
  }
  leaving = null;
  button.disabled = false;
  stop.disabled = true;
});
stop.addEventListener("click", () => leaving && leaving.abort());
question.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) { event.preventDefault(); form.requestSubmit(); }
});
