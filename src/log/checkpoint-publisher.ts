/** The newest checkpoint of a log as one of its writers shows it. It never goes back (TL-46). */

import type { TreeHead } from './checkpoint-body.ts';
import { openCheckpoint } from './checkpoint.ts';
import { publish, republish, trustOf, type Publication } from './publication.ts';
import { PublishedLog } from './published-log.ts';
import { checkHistory } from './start-up.ts';

/** Brings a writer up to date and tells the head as it stands then. */
export type HeadSource = () => Promise<TreeHead>;

export class CheckpointPublisher {
  private readonly publication: Publication;
  private current: PublishedLog;

  constructor(publication: Publication, current: PublishedLog) {
    this.publication = publication;
    this.current = current;
  }

  get published(): PublishedLog {
    return this.current;
  }

  /**
   * Has a checkpoint of at least a size published: by this writer, or by another one meanwhile. Writers take turns, so that witnesses
   * are asked about one size after the other.
   */
  async publishUpTo(size: bigint, headOf: HeadSource): Promise<void> {
    if (this.current.size >= size) return;
    await this.inTurn(async () => {
      const head = await headOf();
      if (this.current.size < size) this.show(await publish(this.publication, head));
    });
  }

  /** Has a checkpoint published that is newer than the current one, although nothing may have been appended (WT-22). */
  async renew(headOf: HeadSource): Promise<void> {
    await this.inTurn(async () => {
      const head = await headOf();
      const isNewer = this.current.size < head.size;
      this.show(
        await (isNewer ? publish(this.publication, head) : republish(this.publication, this.current)),
      );
    });
  }

  /** The newest checkpoint of any writer. Ask for it before the head that it is compared with. */
  async findNewest(): Promise<string | undefined> {
    return await this.publication.storage.newestCheckpoint();
  }

  /**
   * Shows the checkpoint of another writer, once it is verified as one's own.
   *
   * @throws RefusalError `log-rolled-back`, `log-forked`, and those of `openCheckpoint`
   */
  async adopt(note: string | undefined, head: TreeHead): Promise<void> {
    if (note === undefined || note === this.current.checkpoint.note) return;
    const { storage, keeper, identity } = this.publication;
    const checkpoint = await openCheckpoint(note, trustOf(identity));
    await checkHistory(storage, head, checkpoint);
    if (checkpoint.size < this.current.size) return;
    await keeper.save(note);
    this.show(new PublishedLog(storage, checkpoint));
  }

  private async inTurn(work: () => Promise<void>): Promise<void> {
    await this.publication.storage.inTurn('publish', work);
  }

  private show(published: PublishedLog): void {
    if (published.size >= this.current.size) this.current = published;
  }
}
