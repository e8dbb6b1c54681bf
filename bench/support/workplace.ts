/** Where a benchmark keeps its files: a folder of its own and, for output, two file systems in memory. */

import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export class Workplace implements AsyncDisposable {
  readonly folder: string;
  /** A tmpfs of huge pages; undefined where this user may not mount one. */
  huge: string | undefined;
  /** A tmpfs of ordinary pages. */
  ordinary: string | undefined;
  readonly #undo = new AsyncDisposableStack();

  private constructor(folder: string) {
    this.folder = folder;
    this.#undo.defer(() => rm(folder, { recursive: true, force: true }));
  }

  /** @param parent an existing folder with room for the files */
  static async open(parent: string): Promise<Workplace> {
    const workplace = new Workplace(await mkdtemp(join(parent, 'weightgate-bench-')));
    workplace.huge = await workplace.#mount('huge', 'huge=always');
    workplace.ordinary =
      (await workplace.#mount('ordinary', 'huge=never')) ?? (await workplace.#sharedMemory());
    return workplace;
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Free space under the folder, in bytes. */
  async available(): Promise<number> {
    const { bavail, bsize } = await statfs(this.folder);
    return bavail * bsize;
  }

  async #mount(name: string, pages: string): Promise<string | undefined> {
    const folder = this.path(name);
    await mkdir(folder);
    const options = `size=100%,mode=0700,${pages}`;
    try {
      await run('mount', ['-t', 'tmpfs', '-o', options, 'weightgate-bench', folder]);
    } catch {
      return undefined;
    }
    this.#undo.defer(async () => {
      await run('umount', [folder]);
    });
    return folder;
  }

  /** Every user may write there; its pages are ordinary ones unless the system was set otherwise. */
  async #sharedMemory(): Promise<string | undefined> {
    const folder = await mkdtemp('/dev/shm/weightgate-bench-').catch(() => undefined);
    if (folder !== undefined) this.#undo.defer(() => rm(folder, { recursive: true, force: true }));
    return folder;
  }

  /** For what has to end before the folder can go, such as a mount inside of it. */
  defer(work: () => Promise<void>): void {
    this.#undo.defer(work);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.#undo.disposeAsync();
  }
}
