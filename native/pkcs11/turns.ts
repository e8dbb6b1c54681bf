/** A place that several may share and one may have for itself, in the order in which they came. */
export class Turns {
  private readonly room: number;
  private readonly waiting: { readonly share: number; readonly admit: () => void }[] = [];
  private taken = 0;

  /** @param room how much of the place there is */
  constructor(room: number) {
    this.room = room;
  }

  /** Waits for a share of the place. @param share at most all of it */
  async enter(share: number): Promise<void> {
    const admitted = new Promise<void>((admit) => this.waiting.push({ share, admit }));
    this.admit();
    await admitted;
  }

  /** Gives back what `enter` gave. */
  leave(share: number): void {
    this.taken -= share;
    this.admit();
  }

  /** Nobody overtakes: else those who need little would keep one who needs all waiting for ever. */
  private admit(): void {
    for (;;) {
      const [next] = this.waiting;
      if (next === undefined || this.taken + next.share > this.room) return;
      this.waiting.shift();
      this.taken += next.share;
      next.admit();
    }
  }
}
