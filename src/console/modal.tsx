/** What lies over the page until it is closed. */
import type { ComponentChildren } from 'preact';
import { useEffect, useRef } from 'preact/hooks';

interface ModalProps {
  readonly title: string;
  readonly onClose: () => void;
  readonly children: ComponentChildren;
}

/** Esc closes it, and the focus goes back to where it was: the browser's own. */
export function Modal({ title, onClose, children }: ModalProps) {
  const host = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement;
    host.current?.showModal();
    return () => {
      if (before instanceof HTMLElement) before.focus();
    };
  }, []);
  return (
    <dialog ref={host} aria-label={title} onClose={onClose}>
      <header>
        <h1>{title}</h1>
        <span class="space" />
        <button type="button" onClick={() => host.current?.close()}>
          close
        </button>
      </header>
      {children}
    </dialog>
  );
}
