/** Makes every `[data-copy=id]` button copy the text of that element, and say that it did. */
export function offerCopies() {
  for (const button of document.querySelectorAll('button[data-copy]')) {
    const words = button.textContent;
    button.addEventListener('click', async () => {
      const source = document.getElementById(button.dataset.copy);
      try {
        await navigator.clipboard.writeText(source.textContent);
        button.textContent = 'Copied';
      } catch {
        // No permission, or no secure context: what is selected can be copied by hand.
        getSelection()?.selectAllChildren(source);
        button.textContent = 'Selected';
      }
      setTimeout(() => (button.textContent = words), 2000);
    });
  }
}
