import { randomUUID } from 'node:crypto';
import { readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { decodeCanonicalJson, encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import {
  createFileCustody,
  openFileCustody,
  type FileCustodyOptions,
} from '../../../src/keys/file/file-custody.ts';
import { fileRefusals, writeFileDurably } from '../../../src/platform/files.ts';
import { newWrappingKeyFile } from '../../support/file-custody.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { describeCustodyContract, type CustodyFault, type CustodyFixture } from '../custody-contract.ts';

/** The only step of file custody that changes anything is the replacement of its file. */
async function makeFixture(): Promise<CustodyFixture> {
  const place = await newWrappingKeyFile();
  const foreign = await newWrappingKeyFile();
  let fault: CustodyFault | undefined;
  let steps = 0;
  const replace = async (path: string, bytes: Uint8Array): Promise<void> => {
    const moment = fault?.step === steps ? fault.moment : undefined;
    steps += 1;
    if (moment !== 'before') await writeFileDurably(path, bytes, 0o600);
    if (moment === undefined) return;
    throw fileRefusals.error('file-not-written', { field: path, expected: 'a written file', found: 'EIO' });
  };
  return {
    open: () => openFileCustody({ ...place, replace }),
    openForeign: () => openFileCustody(foreign),
    setFault: (next) => {
      fault = next;
      steps = 0;
    },
    faultHappened: () => fault !== undefined && steps > fault.step,
    remove: () => rm(place.path),
  };
}

describeCustodyContract({ provider: 'file', makeFixture, damagedBytes: 200, randomInputs: 60 });

interface EditableFile {
  current: string;
  origin: string;
  keys: { id: string; nonce: string; ciphertext: string }[];
}

async function edit(path: string, change: (document: EditableFile) => void): Promise<void> {
  const document = decodeCanonicalJson(await readFile(path), { maxBytes: 65536 }, 'wrappingKeys');
  change(document as unknown as EditableFile);
  await writeFile(path, encodeCanonicalJson(document));
}

function opening(options: FileCustodyOptions): Promise<string> {
  return refusalCodeAsync(async () => (await openFileCustody(options)).close());
}

describe('file of wrapping keys', () => {
  it('is refused in production, before anything is made (KC-7)', async () => {
    const path = join(await temporaryFolder(), randomUUID());
    const production = {
      path,
      passphrase: 'correct horse',
      mode: 'production',
      origin: 'example.org',
    } as const;
    expect(await refusalCodeAsync(() => createFileCustody(production))).toBe(
      'key-file-custody-in-production',
    );
    expect(await refusalCodeAsync(() => openFileCustody(production))).toBe('key-file-custody-in-production');
    expect(await refusalCodeAsync(() => stat(path).catch(() => Promise.resolve()))).toBe('accepted');
  });

  it('belongs to one origin and one mode, also after editing (KC-6)', async () => {
    const place = await newWrappingKeyFile();
    const elsewhere = { ...place, origin: 'elsewhere.example/evaluation' };
    expect(await opening(elsewhere)).toBe('keyring-other-server');
    await edit(place.path, (document) => {
      document.origin = elsewhere.origin;
    });
    expect(await opening(elsewhere)).toBe('key-file-damaged');
  });

  it('tells a wrong passphrase from a damaged file (KC-4)', async () => {
    const place = await newWrappingKeyFile();
    expect(await opening({ ...place, passphrase: 'correct house' })).toBe('key-passphrase-wrong');
    await edit(place.path, ({ keys: [key] }) => {
      key!.ciphertext = `${key!.ciphertext.startsWith('A') ? 'B' : 'A'}${key!.ciphertext.slice(1)}`;
    });
    expect(await opening(place)).toBe('key-file-damaged');
  });

  it('holds each key once, in its own box, and the current one (KC-20)', async () => {
    const place = await newWrappingKeyFile();
    const custody = await openFileCustody(place);
    await custody.rotate();
    await custody.close();
    const good = await readFile(place.path);
    const changes: ((document: EditableFile) => void)[] = [
      (document) => (document.current = '12'.repeat(16)),
      ({ keys }) => keys.push(keys[0]!),
      ({ keys: [first, second] }) => ([first!.id, second!.id] = [second!.id, first!.id]),
    ];
    for (const change of changes) {
      await writeFile(place.path, good);
      await edit(place.path, change);
      expect(await opening(place)).toBe('key-file-damaged');
    }
  });

  it('goes on with no other file that takes its place', async () => {
    const place = await newWrappingKeyFile();
    const custody = await openFileCustody(place);
    await rm(place.path);
    await createFileCustody(place);
    expect(await refusalCodeAsync(() => custody.rotate())).toBe('key-file-damaged');
    await custody.close();
  });
});
