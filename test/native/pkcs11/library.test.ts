import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { isRefusal } from '../../../attestation/core/refusal.ts';
import { openPkcs11Library } from '../../../native/pkcs11/library.ts';
import { requireOk } from '../../../native/pkcs11/return-values.ts';
import {
  Attribute,
  attributeRequest,
  gcmMechanism,
  ivOf,
  readAttributes,
  readFunctionList,
  readTokenInformation,
  tokenInformationRoom,
} from '../../../native/pkcs11/structures.ts';
import { compileLibrary, missingCompiler } from '../../support/programs.ts';
import { refusalCode, refusalCodeAsync } from '../../support/refusal-code.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const missing = missingCompiler();

async function fakeLibrary(version: number): Promise<string> {
  const folder = await temporaryFolder();
  const source = join(folder, 'fake.c');
  const template = await readFile(new URL('../../support/fake-pkcs11.c', import.meta.url), 'utf8');
  await writeFile(source, template.replace('FAKE_VERSION', String(version)));
  const library = join(folder, 'fake.so');
  await compileLibrary(source, library);
  return library;
}

describe('structures of PKCS#11', () => {
  it('KC-66: whatever a library writes is read or refused', () => {
    const room = tokenInformationRoom().length;
    const wanted = [
      [Attribute.id, 16],
      [Attribute.sensitive, 1],
    ] as const;
    const request = attributeRequest(wanted).length;
    const readers = [
      [room, (bytes: Uint8Array) => readTokenInformation(bytes, 'token')],
      [request, (bytes: Uint8Array) => readAttributes(bytes, wanted, 'attributes')],
      [552, (bytes: Uint8Array) => readFunctionList(bytes)],
    ] as const;
    for (const [length, read] of readers) {
      fc.assert(
        fc.property(fc.uint8Array({ minLength: length, maxLength: length }), (bytes) => {
          try {
            read(bytes);
          } catch (error) {
            expect(isRefusal(error)).toBe(true);
          }
        }),
        { numRuns: 200 },
      );
    }
  });

  it('KC-66: an attribute that says to be longer than its room is refused', () => {
    const wanted = [[Attribute.id, 16]] as const;
    const request = attributeRequest(wanted);
    request[16] = 17;
    expect(refusalCode(() => readAttributes(request, wanted, 'attributes'))).toBe('pkcs11-answer');
    request.fill(0xff, 16, 24);
    expect(refusalCode(() => readAttributes(request, wanted, 'attributes'))).toBe('pkcs11-answer');
  });

  it('KC-62: the parameters of AES-GCM hold the IV that is read back from them', () => {
    const iv = new Uint8Array(12).fill(5);
    expect(ivOf(gcmMechanism(iv, new Uint8Array(100)))).toEqual(iv);
  });

  it.each([
    [0x05, 'pkcs11-call-failed'],
    [0x32, 'pkcs11-token-gone'],
    [0xa0, 'pkcs11-pin-wrong'],
    [0xa4, 'pkcs11-pin-locked'],
    [0x70, 'pkcs11-mechanism-missing'],
    [0xb1, 'pkcs11-busy'],
    [0x40, 'pkcs11-ciphertext'],
    [0x80000001, 'pkcs11-call-failed'],
    [0, 'accepted'],
  ])('KC-66: the return value %i becomes %s', (value, code) => {
    expect(
      refusalCode(() => {
        requireOk(value, 'C_Encrypt');
      }),
    ).toBe(code);
  });
});

describe.skipIf(missing.length > 0)(`libraries (missing: ${missing.join(', ') || 'nothing'})`, () => {
  it('KC-66: a call that hangs is given up, and nothing is called afterwards', async () => {
    const path = await fakeLibrary(2);
    const started = performance.now();
    expect(await refusalCodeAsync(() => openPkcs11Library(path, 0.2))).toBe('pkcs11-timeout');
    expect(performance.now() - started).toBeLessThan(2500);
  });

  it('KC-66: a library of another version is refused', async () => {
    const path = await fakeLibrary(9);
    expect(await refusalCodeAsync(() => openPkcs11Library(path, 1))).toBe('pkcs11-library-other');
  });
});
