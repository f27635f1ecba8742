// The coloured text: which document is shown, which scale colours it, and the weights of the token in question.
(() => {
  const source = document.getElementById("text-data");
  if (!source) return;
  const { teachers, scales, weights } = JSON.parse(source.textContent);
  const K = teachers.length;
  const tip = document.getElementById("tip");
  const section = document.getElementById("text");
  const articles = [...section.querySelectorAll(".document")];
  const boxes = articles.map((article) => article.querySelector(".tokens"));

  const row = (document_, scale, token) => (weights[document_][scale] || []).slice(token * K, token * K + K);
  const find = (token) => {
    const box = token.parentElement;
    return { document_: boxes.indexOf(box), index: [...box.children].indexOf(token) };
  };

  function colour(scale) {
    boxes.forEach((box, document_) => [...box.children].forEach((token, index) => {
      const known = row(document_, scale, index).map((value) => (value === null ? -1 : value));
      const most = Math.max(-1, ...known);
      token.className = most < 0 ? "" : `k${known.indexOf(most) % 8}`;
      const strength = K > 1 ? (most - 1000 / K) / (1000 - 1000 / K) : 1;
      token.style.setProperty("--o", Math.min(1, Math.max(0, strength)).toFixed(2));
    }));
  }

  function make(tag, className, text) {
    const element = document.createElement(tag);
    element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function fill(token) {
    const { document_, index } = find(token);
    const shown = token.textContent.replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll(" ", "␣");
    const head = make("p", "said", shown);
    const table = make("table", "");
    const names = table.insertRow();
    names.append(make("td", ""), ...teachers.map((name, k) => {
      const cell = make("th", "", name);
      cell.prepend(make("i", `chip k${k % 8}`));
      return cell;
    }));
    for (const scale of scales.filter((name) => name !== "all").concat(scales.includes("all") ? ["all"] : [])) {
      const line = table.insertRow();
      line.className = scale;
      line.append(make("th", "", scale));
      const values = row(document_, scale, index);
      for (let k = 0; k < K; k += 1) {
        const known = values[k] !== null && values[k] !== undefined;
        const cell = make("td", "");
        const bar = make("span", "weight");
        const filled = make("i", `chip k${k % 8}`);
        filled.style.width = known ? `${values[k] / 10}%` : "0";
        bar.append(filled);
        cell.append(bar, make("span", "value", known ? (values[k] / 1000).toFixed(3) : "–"));
        line.append(cell);
      }
    }
    tip.replaceChildren(head, table);
  }

  let current = null;
  function show(token) {
    if (current) { current.classList.remove("current"); current.removeAttribute("aria-describedby"); }
    current = token;
    tip.hidden = !token;
    if (!token) return;
    token.classList.add("current");
    token.setAttribute("aria-describedby", "tip");
    fill(token);
    place(token);
  }

  function place(token) {
    const at = token.getClientRects()[0] || token.getBoundingClientRect();
    const size = tip.getBoundingClientRect();
    const below = at.bottom + 8 + size.height < window.innerHeight || at.top < size.height + 8;
    tip.style.left = `${Math.max(8, Math.min(at.left, document.documentElement.clientWidth - size.width - 8))}px`;
    tip.style.top = `${below ? at.bottom + 8 : at.top - size.height - 8}px`;
  }

  function focus(token) {
    if (!token) return;
    token.parentElement.querySelectorAll('[tabindex="0"]').forEach((other) => { other.tabIndex = -1; });
    token.tabIndex = 0;
    token.focus();
  }

  // The nearest token in the line above (direction −1) or below (1).
  function vertical(token, direction) {
    const from = token.getClientRects()[0];
    let best = null;
    let score = Infinity;
    let next = token;
    while ((next = direction > 0 ? next.nextElementSibling : next.previousElementSibling)) {
      const at = next.getClientRects()[0];
      if (!at || Math.abs(at.top - from.top) < 4) continue;
      if (Math.abs(at.top - from.top) > 3 * from.height && best) break;
      const distance = Math.abs(at.left - from.left) + 50 * Math.abs(at.top - from.top);
      if (distance < score) { score = distance; best = next; }
    }
    return best;
  }

  const moves = {
    ArrowRight: (token) => token.nextElementSibling,
    ArrowLeft: (token) => token.previousElementSibling,
    ArrowDown: (token) => vertical(token, 1),
    ArrowUp: (token) => vertical(token, -1),
    Home: (token) => token.parentElement.firstElementChild,
    End: (token) => token.parentElement.lastElementChild,
  };

  for (const box of boxes) {
    if (box.firstElementChild) box.firstElementChild.tabIndex = 0;
    const token = (event) => (event.target.closest(".tokens > i"));
    box.addEventListener("mouseover", (event) => { if (token(event)) show(token(event)); });
    box.addEventListener("mouseleave", () => show(null));
    box.addEventListener("focusin", (event) => show(token(event)));
    box.addEventListener("focusout", () => show(null));
    box.addEventListener("click", (event) => focus(token(event)));
    box.addEventListener("keydown", (event) => {
      if (event.key === "Escape") { show(null); return; }
      if (!moves[event.key] || !token(event)) return;
      event.preventDefault();
      focus(moves[event.key](token(event)));
    });
  }
  // Focus scrolls its token into view, so the tooltip follows it; a token that is only pointed at has moved away.
  window.addEventListener("scroll", () => {
    if (!current) return;
    if (current === document.activeElement) place(current);
    else show(null);
  }, { passive: true, capture: true });

  function pressed(button, name) {
    section.querySelectorAll(`button[data-${name}]`).forEach((other) => {
      other.setAttribute("aria-pressed", String(other === button));
    });
  }
  function domain(button) {
    pressed(button, "domain");
    articles.forEach((article) => { article.hidden = article.dataset.domain !== button.dataset.domain; });
  }
  section.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.dataset.domain !== undefined) domain(button);
    if (button.dataset.scale !== undefined) { pressed(button, "scale"); colour(button.dataset.scale); }
  });

  // A link to one token, #token-DOCUMENT-INDEX, opens its document and focuses it.
  function follow() {
    const match = /^#token-(\d+)-(\d+)$/.exec(window.location.hash);
    const token = match && boxes[match[1]] && boxes[match[1]].children[match[2]];
    if (!token) return;
    domain([...section.querySelectorAll("button[data-domain]")].find((b) => b.dataset.domain === articles[match[1]].dataset.domain));
    token.scrollIntoView({ block: "center", behavior: "instant" });
    focus(token);
  }
  window.addEventListener("hashchange", follow);
  follow();
})();
