// Controls that every page has: the theme, and the link to the present view.

/** A message beside the control that it is about. It lies over the page, so that nothing moves. */
function notice() {
  const element = el("span", { class: "notice", role: "status" });
  let timer = 0;
  const show = (text) => {
    clearTimeout(timer);
    element.textContent = text;
    element.style.left = "0";
    const beyond = element.getBoundingClientRect().right - (document.documentElement.clientWidth - 8);
    if (beyond > 0) element.style.left = `${-beyond}px`;
    timer = setTimeout(() => (element.textContent = ""), 6000);
  };
  return { element: el("span", { class: "noticed" }, element), show };
}

const linkNotice = notice();

const button = (label, text, action) =>
  el("button", { type: "button", "aria-label": label, onclick: action }, text);

async function copyLink() {
  try {
    await navigator.clipboard.writeText(location.href);
    linkNotice.show("The link to this view is copied.");
  } catch {
    linkNotice.show("Copy the address of the page: it has this view.");
  }
}

const linkButton = button("Copy a link to this view", "link", copyLink);

const theme = el(
  "select",
  {
    id: "theme",
    onchange: () => {
      view.theme = theme.value;
      changed();
    },
  },
  el("option", { value: "auto" }, "as the system"),
  el("option", { value: "light" }, "light"),
  el("option", { value: "dark" }, "dark"),
);

/** Sets the theme of the view. */
function applyTheme() {
  inks.clear();
  theme.value = view.theme;
  if (view.theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = view.theme;
}

/** Follows the address, the window and the system's theme. `read` says whether the address was read. */
function followTheWindow(read) {
  addEventListener("hashchange", () => {
    if (read()) redrawSoon();
  });
  addEventListener("resize", redrawSoon);
  prefersDark.addEventListener("change", redrawSoon);
}
