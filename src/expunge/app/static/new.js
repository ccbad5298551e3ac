"use strict";
// Names of the methods: they come later than the page, since listing them takes seconds.
const select = document.getElementById("method");
fetch("/methods").then((response) => response.json()).then((names) => {
  const there = new Set([...select.options].map((option) => option.value));
  for (const name of names) {
    if (there.has(name)) continue;
    const option = document.createElement("option");
    option.textContent = name;
    select.append(option);
  }
});
