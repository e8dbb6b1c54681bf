/** Events that one side pushes and another awaits, in order, with an end or a failure. */

export class EventQueue<T> implements AsyncIterable<T> {
  private readonly events: T[] = [];
  private wake: (() => void) | undefined;
  private ended = false;
  private failure: Error | undefined;

  push(event: T): void {
    if (this.ended) return;
    this.events.push(event);
    this.wake?.();
  }

  /** What was pushed before is still given; then iterating ends, or throws the failure. */
  end(failure?: Error): void {
    if (this.ended) return;
    this.ended = true;
    this.failure = failure;
    this.wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<T, void, void> {
    for (;;) {
      const event = this.events.shift();
      if (event !== undefined) yield event;
      else if (this.ended) break;
      else await this.changed();
    }
    if (this.failure !== undefined) throw this.failure;
  }

  private changed(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }
}
