/**
 * A disk that keeps what was synced and may lose the rest. Content is durable by fsync of the file; names (made, renamed,
 * removed) by fsync of the folder. That is less than ext4 or XFS keep, and all that POSIX promises.
 */

import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import type { Step } from './strace.ts';

interface Inode {
  /** What a reader would see. */
  now: Buffer;
  durable: Buffer;
  /** The newest write that is not synced, and what it wrote over. */
  lastWrite: { readonly at: number; readonly bytes: Uint8Array; readonly before: Buffer } | undefined;
}

/** What survives of that which was not synced. */
export const LOSSES = [
  'all is lost',
  'names survive',
  'contents survive',
  'the newest write is torn',
] as const;
export type Loss = (typeof LOSSES)[number];

/** The steps after which more, or other things, survive. */
export function changes(loss: Loss, { does }: Step): boolean {
  if (does === 'say' || does === 'sync') return true;
  const isOfNames = does === 'create' || does === 'rename' || does === 'unlink';
  return loss === 'names survive'
    ? isOfNames
    : loss !== 'all is lost' && !(loss === 'contents survive' && isOfNames);
}

const SECTOR_BYTES = 512;
/** SQLite makes it anew when nobody has the database open. */
const NOT_ON_DISK = /-shm$/;

export class LossyDisk {
  private names = new Map<string, Inode>();
  private durableNames = new Map<string, Inode>();

  /** Begins with the files of a folder, all of them durable. */
  static async from(folder: string): Promise<LossyDisk> {
    const disk = new LossyDisk();
    for (const name of await readdir(folder)) {
      const bytes = await readFile(join(folder, name));
      disk.names.set(name, { now: Buffer.from(bytes), durable: bytes, lastWrite: undefined });
    }
    disk.durableNames = new Map(disk.names);
    return disk;
  }

  apply(step: Step): void {
    if (step.does === 'say' || NOT_ON_DISK.test(step.path)) return;
    if (step.does === 'sync') this.sync(step.path);
    else if (step.does === 'unlink') this.names.delete(step.path);
    else if (step.does === 'rename') this.rename(step.path, step.to);
    else this.change(this.inode(step.path), step);
  }

  private inode(path: string): Inode {
    const known = this.names.get(path);
    if (known !== undefined) return known;
    const made = { now: Buffer.alloc(0), durable: Buffer.alloc(0), lastWrite: undefined };
    this.names.set(path, made);
    return made;
  }

  private change(inode: Inode, step: Step): void {
    if (step.does === 'truncate') {
      inode.now = resized(inode.now, step.length);
      inode.lastWrite = undefined;
    } else if (step.does === 'write') {
      const at = step.at === 'end' ? inode.now.length : step.at;
      const end = at + step.bytes.length;
      if (end > inode.now.length) inode.now = resized(inode.now, end);
      inode.lastWrite = { at, bytes: step.bytes, before: Buffer.from(inode.now.subarray(at, end)) };
      inode.now.set(step.bytes, at);
    }
  }

  private sync(path: string): void {
    if (path === '') {
      this.durableNames = new Map(this.names);
      return;
    }
    const inode = this.inode(path);
    inode.durable = Buffer.from(inode.now);
    inode.lastWrite = undefined;
  }

  private rename(path: string, to: string): void {
    this.names.set(to, this.inode(path));
    this.names.delete(path);
  }

  /** What is on the disk after the power was cut; to be written away before anything else is applied. */
  after(loss: Loss): ReadonlyMap<string, Buffer> {
    const names = loss === 'all is lost' || loss === 'contents survive' ? this.durableNames : this.names;
    return new Map([...names].map(([name, inode]) => [name, contentAfter(inode, loss)]));
  }
}

function contentAfter({ now, durable, lastWrite }: Inode, loss: Loss): Buffer {
  if (loss === 'all is lost' || loss === 'names survive') return durable;
  if (loss === 'contents survive' || lastWrite === undefined) return now;
  const { at, bytes, before } = lastWrite;
  const half = bytes.length / 2;
  const kept = half < SECTOR_BYTES ? Math.floor(half) : Math.floor(half / SECTOR_BYTES) * SECTOR_BYTES;
  const torn = Buffer.from(now);
  torn.set(before.subarray(kept), at + kept);
  return torn;
}

function resized(bytes: Buffer, length: number): Buffer {
  return length <= bytes.length ? Buffer.from(bytes.subarray(0, length)) : Buffer.concat([bytes], length);
}

export async function writeFolder(folder: string, files: ReadonlyMap<string, Uint8Array>): Promise<void> {
  for (const [name, bytes] of files) await writeFile(join(folder, name), bytes);
}
