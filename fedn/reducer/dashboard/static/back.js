// Back to the form that was refused: the browser keeps what was filled in.

const back = document.querySelector("a[data-back]");

if (back !== null && history.length > 1) {
  back.addEventListener("click", (event) => {
    event.preventDefault();
    history.back();
  });
}
