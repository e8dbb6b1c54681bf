/** What the kernel says of a running process, and a search of files for bytes that must not be there. */

import { open, readFile, readdir, readlink, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';

const BLOCK_BYTES = 4 * 1024 * 1024;

/** An open descriptor of a process. */
export interface OpenDescriptor {
  /** As /proc names it, for example `/memfd:weights (deleted)` or `socket:[123]`. */
  readonly target: string;
  /** Where its content can be read, whatever became of its name. */
  readonly path: string;
  readonly isFile: boolean;
}

export async function openDescriptors(processId: number): Promise<readonly OpenDescriptor[]> {
  const folder = `/proc/${processId}/fd`;
  const found = await Promise.all(
    (await readdir(folder)).map(async (name) => {
      const path = join(folder, name);
      try {
        const target = await readlink(path);
        return [{ target, path, isFile: (await stat(path)).isFile() }];
      } catch {
        // Closed since the folder was read.
        return [];
      }
    }),
  );
  return found.flat();
}

/** A memory file, or a file of the agent's private mount: `liesInMemory` tells such a one from a file of a disk. */
export function isMemoryFile(target: string): boolean {
  return target.startsWith('/memfd:') || /^\/memory-\d+ \(deleted\)$/.test(target);
}

/** `TMPFS_MAGIC` of <linux/magic.h>: memory files are of this kind too. */
const TMPFS = 0x01021994;

/** Whether a descriptor is of a file that lies in memory and in no mount that has a path. */
export async function liesInMemory({ path, target }: OpenDescriptor): Promise<boolean> {
  if (!isMemoryFile(target) || (await statfs(path)).type !== TMPFS) return false;
  const description = await readFile(path.replace('/fd/', '/fdinfo/'), 'utf8');
  const mount = /^mnt_id:\s+(\d+)$/m.exec(description)?.[1] ?? '';
  const mounts = await readFile('/proc/self/mountinfo', 'utf8');
  return mount !== '' && !mounts.split('\n').some((line) => line.startsWith(`${mount} `));
}

/** What a process has mapped under a name, as /proc shows it: files that were closed meanwhile stand here too. */
export async function mappedNames(processId: number): Promise<readonly string[]> {
  const text = await readFile(`/proc/${processId}/maps`, 'utf8');
  return [...new Set(text.split('\n').flatMap((line) => /^(?:\S+\s+){5}(\/.*)$/.exec(line)?.[1] ?? []))];
}

const NETWORK_TABLES = ['tcp', 'tcp6', 'udp', 'udp6', 'udplite', 'raw', 'raw6', 'icmp', 'packet'];

/** The sockets of a process that belong to a network protocol, by inode. */
export async function networkSockets(processId: number): Promise<readonly string[]> {
  const tables = await Promise.all(
    NETWORK_TABLES.map((name) => readFile(`/proc/${processId}/net/${name}`, 'utf8').catch(() => '')),
  );
  const inodes = new Set(tables.flatMap((table) => table.split(/\s+/)));
  return (await openDescriptors(processId))
    .map(({ target }) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? '')
    .filter((inode) => inode !== '' && inodes.has(inode));
}

/** A line of /proc/PID/status without its name, for example `0 kB`. */
export async function statusOf(processId: number, name: string): Promise<string> {
  const text = await readFile(`/proc/${processId}/status`, 'utf8');
  return new RegExp(`^${name}:\\s+(.*)$`, 'm').exec(text)?.[1] ?? '';
}

/** Soft and hard limit of the size of a core dump. */
export async function coreLimits(processId: number): Promise<readonly string[]> {
  const text = await readFile(`/proc/${processId}/limits`, 'utf8');
  return /^Max core file size +(\S+) +(\S+)/m.exec(text)?.slice(1) ?? [];
}

/** Processes of a group that run still. */
export async function processesOfGroup(group: number): Promise<readonly number[]> {
  const numbers = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const states = await Promise.all(numbers.map(async (number) => ({ number, ...(await groupOf(number)) })));
  return states.filter((found) => found.group === group && found.state !== 'Z').map(({ number }) => number);
}

async function groupOf(processId: number): Promise<{ readonly state?: string; readonly group?: number }> {
  try {
    const text = await readFile(`/proc/${processId}/stat`, 'utf8');
    // The name of the program stands in brackets and may hold anything.
    const [state, , group] = text.slice(text.lastIndexOf(')') + 2).split(' ');
    return { state: state ?? '', group: Number(group) };
  } catch {
    return {};
  }
}

/** Every form in which bytes may stand in a file: as they are, in hexadecimal, in base64 at any place. */
export function formsOf(bytes: Uint8Array): readonly Buffer[] {
  const hex = Buffer.from(bytes).toString('hex');
  const texts = [hex, hex.toUpperCase()];
  for (let before = 0; before < 3; before += 1) {
    const base64 = Buffer.concat([Buffer.alloc(before), bytes]).toString('base64url');
    // Characters at the ends hold bits of what stands beside.
    const inner = base64.slice(before === 0 ? 0 : before + 1, -2);
    texts.push(inner, inner.replaceAll('-', '+').replaceAll('_', '/'));
  }
  return [Buffer.from(bytes), ...new Set(texts)].map((form) => Buffer.from(form));
}

/** The files below a folder that hold one of the patterns. Reads block by block, whatever their size. */
export async function filesHolding(folder: string, patterns: readonly Buffer[]): Promise<readonly string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true });
  const found: string[] = [];
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile() && (await holds(path, patterns))) found.push(path);
  }
  return found;
}

/** Whether a file holds one of the patterns. One that is gone meanwhile does not. */
export async function holds(path: string, patterns: readonly Buffer[]): Promise<boolean> {
  const overlap = Math.max(...patterns.map(({ length }) => length)) - 1;
  const block = Buffer.alloc(BLOCK_BYTES);
  const file = await open(path, 'r').catch(() => undefined);
  if (file === undefined) return false;
  try {
    for (let position = 0; ; position += BLOCK_BYTES - overlap) {
      const { bytesRead } = await file.read(block, 0, BLOCK_BYTES, position);
      const read = block.subarray(0, bytesRead);
      if (patterns.some((pattern) => read.includes(pattern))) return true;
      if (bytesRead < BLOCK_BYTES) return false;
    }
  } finally {
    await file.close();
  }
}
