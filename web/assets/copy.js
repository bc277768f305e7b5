const SAID_MS = 2_000;

/** Makes every `[data-copy=id]` button copy the text of that element, and say that it did. */
export function offerCopies() {
  for (const button of document.querySelectorAll('button[data-copy]')) {
    // The first piece of its text is what is seen; the rest, for those who listen, stays.
    const label = button.firstChild;
    const words = label.data;
    button.setAttribute('aria-live', 'polite');
    button.addEventListener('click', async () => {
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        label.data = 'Copied';
      } catch {
        // No permission, or no secure context: what is selected can be copied by hand.
        getSelection()?.selectAllChildren(source);
        label.data = 'Selected';
      }
      setTimeout(() => (label.data = words), SAID_MS);
    });
  }
}
