/**
 * Reports through the kernel's configfs-tsm interface (docs/spec/sev-snp-agent.md, section 2): a folder made there has
 * the files of one request. Everybody with access shares the interface, so a report counts only when the generation
 * shows that nobody wrote in between.
 */

import { randomUUID } from 'node:crypto';
import { mkdir, open, rmdir } from 'node:fs/promises';
import { join } from 'node:path';

import { excerpt } from '../../attestation/core/bytes.ts';
import { MAX_CERTIFICATE_BYTES, whileBusy, type SevGuest, type SevGuestReport } from './guest.ts';
import { sevGuestContentRefusals, sevGuestMachineRefusals } from './refusals.ts';

/** The file operations that a request takes. They are the kernel's, unless a test brings a model of it. */
export interface ReportFiles {
  makeFolder(path: string): Promise<void>;
  /** The whole file. @throws the system's error; a file of more than `maxBytes` comes with one byte more */
  read(path: string, maxBytes: number): Promise<Uint8Array>;
  /** In one call: an attribute of configfs takes a value whole. */
  write(path: string, bytes: Uint8Array): Promise<void>;
  removeFolder(path: string): Promise<void>;
}

const PROVIDER = 'sev_guest';
const MAX_ATTRIBUTE_BYTES = 4096;
const MAX_REPORT_BYTES = 32 * 1024;
const FIRST_PAUSE_MILLISECONDS = 100;

export class ConfigfsSevGuest implements SevGuest {
  readonly address: string;
  private readonly root: string;
  private readonly files: ReportFiles;
  private readonly firstPauseMilliseconds: number;

  /** @param root `/sys/kernel/config/tsm/report` where configfs is mounted in its usual place */
  constructor(
    root: string,
    files: ReportFiles = kernelFiles,
    firstPauseMilliseconds = FIRST_PAUSE_MILLISECONDS,
  ) {
    this.address = `configfs:${root}`;
    this.root = root;
    this.files = files;
    this.firstPauseMilliseconds = firstPauseMilliseconds;
  }

  async report(reportData: Uint8Array): Promise<SevGuestReport> {
    return await whileBusy(this.address, this.firstPauseMilliseconds, () => this.attempt(reportData));
  }

  private async attempt(reportData: Uint8Array): Promise<SevGuestReport | 'busy'> {
    const entry = join(this.root, `weightgate-${randomUUID()}`);
    try {
      await this.files.makeFolder(entry);
      try {
        return await this.request(entry, reportData);
      } finally {
        await this.files.removeFolder(entry);
      }
    } catch (error) {
      if (isBusy(error)) return 'busy';
      throw this.explain(error);
    }
  }

  /** The order is that of the kernel's own documentation: generation, inblob, privlevel, blobs, generation. */
  private async request(entry: string, reportData: Uint8Array): Promise<SevGuestReport | 'busy'> {
    await this.checkProvider(entry);
    const before = await this.generation(entry);
    await this.files.write(join(entry, 'inblob'), reportData);
    const writes = 1 + (await this.raisePrivilegeLevel(entry));
    const report = await this.readBounded(entry, 'outblob', MAX_REPORT_BYTES);
    const certificateTable = await this.readCertificates(entry);
    return (await this.generation(entry)) === before + writes ? { report, certificateTable } : 'busy';
  }

  private async checkProvider(entry: string): Promise<void> {
    const provider = await this.readText(entry, 'provider');
    if (provider === PROVIDER) return;
    throw sevGuestMachineRefusals.error('sev-guest-other-provider', {
      field: this.address,
      expected: PROVIDER,
      found: excerpt(provider),
    });
  }

  /** A guest below a service module has to ask at its own level. @returns how many attributes were written */
  private async raisePrivilegeLevel(entry: string): Promise<number> {
    const floor = await orAbsent(this.readText(entry, 'privlevel_floor'));
    if (floor === undefined || floor === '0') return 0;
    if (!/^[1-3]$/.test(floor)) this.refuseAnswer('privlevel_floor', 'a level from 0 to 3', floor);
    await this.files.write(join(entry, 'privlevel'), Buffer.from(floor));
    return 1;
  }

  private async readCertificates(entry: string): Promise<Uint8Array> {
    return (await orAbsent(this.readBounded(entry, 'auxblob', MAX_CERTIFICATE_BYTES))) ?? new Uint8Array();
  }

  private async generation(entry: string): Promise<number> {
    const text = await this.readText(entry, 'generation');
    if (!/^(?:0|[1-9][0-9]{0,14})$/.test(text)) this.refuseAnswer('generation', 'a decimal number', text);
    return Number(text);
  }

  private async readText(entry: string, name: string): Promise<string> {
    const bytes = await this.readBounded(entry, name, MAX_ATTRIBUTE_BYTES);
    return Buffer.from(bytes).toString('latin1').trimEnd();
  }

  private async readBounded(entry: string, name: string, maxBytes: number): Promise<Uint8Array> {
    const bytes = await this.files.read(join(entry, name), maxBytes);
    if (bytes.length > maxBytes) this.refuseAnswer(name, `at most ${maxBytes} bytes`, 'more');
    return bytes;
  }

  private refuseAnswer(name: string, expected: string, found: string): never {
    throw sevGuestContentRefusals.error('sev-guest-answer', {
      field: `${this.address}/${name}`,
      expected,
      found: excerpt(found),
    });
  }

  /** What the system's error means here; a refusal stays what it is. */
  private explain(error: unknown): unknown {
    const code = systemCode(error);
    if (code === undefined) return error;
    const facts = { field: this.address, expected: 'a report', found: code };
    // ENXIO: the interface is there, but no driver stands behind it.
    if (['ENOENT', 'ENOTDIR', 'ENXIO', 'ENODEV'].includes(code)) {
      return sevGuestMachineRefusals.error('sev-guest-missing', facts, { cause: error });
    }
    const isForbidden = code === 'EACCES' || code === 'EPERM' || code === 'EROFS';
    const refusal = isForbidden ? 'sev-guest-not-permitted' : 'sev-guest-refused';
    return sevGuestMachineRefusals.error(refusal, facts, { cause: error });
  }
}

function systemCode(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : undefined;
}

function isBusy(error: unknown): boolean {
  return ['EBUSY', 'EAGAIN', 'EINTR'].includes(systemCode(error) ?? '');
}

/** Attributes that a kernel may not have. */
async function orAbsent<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** The kernel’s files. */
export const kernelFiles: ReportFiles = {
  makeFolder: async (path) => {
    await mkdir(path);
  },
  read: readWhole,
  write: async (path, bytes) => {
    const file = await open(path, 'w');
    try {
      await file.write(bytes);
    } finally {
      await file.close();
    }
  },
  removeFolder: rmdir,
};

/** Attributes have no size of their own: they are read until their end, or until there is too much. */
async function readWhole(path: string, maxBytes: number): Promise<Uint8Array> {
  const file = await open(path, 'r');
  try {
    const buffer = new Uint8Array(maxBytes + 1);
    let length = 0;
    for (;;) {
      const { bytesRead } = await file.read(buffer, length, buffer.length - length, null);
      length += bytesRead;
      if (bytesRead === 0 || length === buffer.length) return buffer.slice(0, length);
    }
  } finally {
    await file.close();
  }
}
