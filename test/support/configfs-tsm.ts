/**
 * The kernel's configfs-tsm (drivers/virt/coco/tsm.c) over a real folder: attributes appear with a request's folder, a
 * write counts up its generation, and reading a blob has a new report made when something was written since the last.
 */

import { mkdir, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { kernelFiles, type ReportFiles } from '../../native/sev-guest/configfs.ts';

/** What the firmware behind it answers. */
export interface FakeFirmware {
  readonly provider: string;
  /** Undefined where the kernel has no such attribute. */
  readonly privilegeLevelFloor?: string;
  report(
    reportData: Uint8Array,
    privilegeLevel: number,
  ): { readonly outblob: Uint8Array; readonly auxblob?: Uint8Array };
}

class KernelError extends Error {
  readonly code: string;

  constructor(code: string) {
    super(code);
    this.code = code;
  }
}

interface Request {
  reportData: Uint8Array | undefined;
  privilegeLevel: number;
  writeGeneration: number;
  readGeneration: number;
}

export class FakeConfigfs implements ReportFiles {
  readonly made: string[] = [];
  readonly removed: string[] = [];
  /** Called before each read: somebody else at the same interface. */
  meddle: (request: Request, attribute: string) => void = () => undefined;
  private readonly firmware: FakeFirmware;
  private readonly requests = new Map<string, Request>();

  constructor(firmware: FakeFirmware) {
    this.firmware = firmware;
  }

  async makeFolder(path: string): Promise<void> {
    await kernelFiles.makeFolder(path);
    this.made.push(path);
    this.requests.set(path, {
      reportData: undefined,
      privilegeLevel: 0,
      writeGeneration: 0,
      readGeneration: 0,
    });
    const { provider, privilegeLevelFloor } = this.firmware;
    const attributes = { provider: `${provider}\n`, generation: '0\n', inblob: '' };
    for (const [name, value] of Object.entries(attributes)) await writeFile(join(path, name), value);
    if (privilegeLevelFloor === undefined) return;
    await writeFile(join(path, 'privlevel_floor'), `${privilegeLevelFloor}\n`);
    await writeFile(join(path, 'privlevel'), '');
  }

  async write(path: string, bytes: Uint8Array): Promise<void> {
    const request = this.requestOf(path);
    await kernelFiles.write(path, bytes);
    if (basename(path) === 'inblob') request.reportData = bytes.slice();
    else request.privilegeLevel = Number(Buffer.from(bytes).toString());
    request.writeGeneration += 1;
  }

  async read(path: string, maxBytes: number): Promise<Uint8Array> {
    const request = this.requestOf(path);
    this.meddle(request, basename(path));
    if (basename(path) === 'generation') await writeFile(path, `${request.writeGeneration}\n`);
    if (basename(path).endsWith('blob')) await this.makeReport(dirname(path), request);
    return await kernelFiles.read(path, maxBytes);
  }

  async removeFolder(path: string): Promise<void> {
    this.removed.push(path);
    await rm(path, { recursive: true });
  }

  private async makeReport(folder: string, request: Request): Promise<void> {
    if (request.reportData === undefined) throw new KernelError('EINVAL');
    if (request.readGeneration === request.writeGeneration) return;
    const { outblob, auxblob } = this.firmware.report(request.reportData, request.privilegeLevel);
    await writeFile(join(folder, 'outblob'), outblob);
    if (auxblob !== undefined) await writeFile(join(folder, 'auxblob'), auxblob);
    request.readGeneration = request.writeGeneration;
  }

  private requestOf(path: string): Request {
    const request = this.requests.get(dirname(path));
    if (request === undefined) throw new KernelError('ENOENT');
    return request;
  }
}

/** An error as the system gives it. */
export function systemError(code: string): Error {
  return new KernelError(code);
}

/** A folder in which requests can be made. */
export async function reportsFolder(base: string): Promise<string> {
  const path = join(base, 'report');
  await mkdir(path);
  return path;
}
