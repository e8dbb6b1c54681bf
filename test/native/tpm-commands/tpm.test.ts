import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import { decode, encode } from '../../../attestation/core/layout.ts';
import { Algorithm, attest, AttestType, publicArea } from '../../../attestation/tpm/layout.ts';
import { computeName, computeQualifiedName, hierarchyName } from '../../../attestation/tpm/name.ts';
import { tpmHash } from '../../../attestation/tpm/hash.ts';
import { selectPcrs } from '../../../attestation/tpm/pcr-selection.ts';
import { attestationKeyTemplates, endorsementKeyTemplates } from '../../../attestation/tpm/templates.ts';
import { loadTctiLibrary } from '../../../native/tpm/tctildr.ts';
import { Handle, HandleRange, Property } from '../../../native/tpm-commands/commands.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { refusalCode, refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);
const stackMissing = refusalCode(() => loadTctiLibrary()) !== 'accepted';
const sha256Pcrs = (pcrs: readonly number[]): ReturnType<typeof selectPcrs> =>
  selectPcrs({ bank: tpmHash(Algorithm.sha256, 'bank'), pcrs });
const ways = stackMissing ? (['socket'] as const) : (['socket', 'stack'] as const);

describe.skipIf(swtpmMissing !== undefined).each(ways)('commands through the %s', (through) => {
  let simulator: TestTpm;
  let tpm: Tpm;

  beforeAll(async () => {
    simulator = await startTestTpm();
    tpm = await Tpm.open(simulator.tpm.address, { through });
  });
  afterAll(async () => {
    await tpm.close();
    await simulator.remove();
  });

  it('TPM2_GetCapability: properties', async () => {
    const properties = await tpm.properties(Property.family, 8);
    expect(properties.get(Property.family)).toBe(0x322e3000);
    expect(properties.get(Property.manufacturer)).toBe(0x49424d00);
  });

  it('TPM2_GetCapability: PCR banks', async () => {
    const banks = await tpm.pcrBanks();
    expect(banks.filter(({ select }) => toHex(select) === 'ffffff').map(({ hash }) => hash)).toEqual([
      0x000b,
    ]);
  });

  it('TPM2_GetCapability: handles of one range only', async () => {
    expect(await tpm.handles(0x01c00000, 254)).toEqual([0x01c00002, 0x01c00016]);
    expect(await tpm.handles(HandleRange.transient, 254)).toEqual([]);
    expect(await tpm.handles(HandleRange.persistent, 254)).toEqual([0x81010001, 0x81010016]);
  });

  it('TPM2_GetRandom', async () => {
    const first = await tpm.random(32);
    expect(first).toHaveLength(32);
    expect(toHex(await tpm.random(32))).not.toBe(toHex(first));
  });

  it('TPM2_NV_ReadPublic, TPM2_NV_Read', async () => {
    const content = await tpm.readNv(0x01c00002);
    expect(toHex(content.subarray(0, 2))).toBe('3082');
    expect(await refusalCodeAsync(() => tpm.readNv(0x01c0000a))).toBe('tpm-response');
  });

  it('TPM2_CreatePrimary, TPM2_ReadPublic, TPM2_FlushContext', async () => {
    const key = await tpm.createPrimary(Handle.endorsement, attestationKeyTemplates['ecc-p256']);
    const { publicArea: read, name, qualifiedName } = await tpm.readPublic(key.handle);
    expect(encode(publicArea, read, 'read')).toEqual(encode(publicArea, key.publicArea, 'created'));
    expect(name).toEqual(computeName(key.publicArea));
    expect(qualifiedName).toEqual(computeQualifiedName(hierarchyName(Handle.endorsement), name));
    await tpm.flush(key.handle);
    expect(await refusalCodeAsync(() => tpm.readPublic(key.handle))).toBe('tpm-response');
  });

  it.each([
    ['L-1', 0x81010001],
    ['H-3', 0x81010016],
  ] as const)(
    'TA-12: the template %s gives the key that the manufacturer made',
    async (templateName, handle) => {
      const template = endorsementKeyTemplates[templateName];
      const made = await tpm.createPrimary(Handle.endorsement, template);
      await tpm.flush(made.handle);
      expect(toHex(made.name)).toBe(toHex((await tpm.readPublic(handle)).name));
    },
  );

  it.each(['L-2', 'H-1', 'H-2', 'H-4'] as const)(
    'TA-12: the TPM accepts the template %s',
    async (templateName) => {
      const template = endorsementKeyTemplates[templateName];
      const made = await tpm.createPrimary(Handle.endorsement, template);
      await tpm.flush(made.handle);
      expect(made.publicArea.objectAttributes).toBe(template.objectAttributes);
    },
  );

  it('TPM2_PCR_Extend, TPM2_PCR_Read', async () => {
    const list = sha256Pcrs([10]);
    const [before] = await tpm.readPcrs(list);
    const digest = new Uint8Array(32).fill(7);
    await tpm.extendPcr(10, digest);
    const [after] = await tpm.readPcrs(list);
    const joined = Uint8Array.of(...before!.value, ...digest);
    const expected = new Uint8Array(await crypto.subtle.digest('SHA-256', joined));
    expect(toHex(after!.value)).toBe(toHex(expected));
  });

  it('TA-15: TPM2_PCR_Read of all PCRs takes several commands and gives each value once', async () => {
    const values = await tpm.readPcrs(sha256Pcrs(Array.from({ length: 24 }, (_, i) => i)));
    expect(values.map(({ pcr }) => pcr)).toEqual(Array.from({ length: 24 }, (_, i) => i));
    expect(values.every(({ value }) => value.length === 32)).toBe(true);
  });

  it('TPM2_PCR_Read of a bank that is not allocated is refused', async () => {
    const reading = (): Promise<unknown> =>
      tpm.readPcrs(selectPcrs({ bank: tpmHash(Algorithm.sha384, 'bank'), pcrs: [0] }));
    expect(await refusalCodeAsync(reading)).toBe('tpm-bank-missing');
  });

  it('TPM2_Quote', async () => {
    const key = await tpm.createPrimary(Handle.endorsement, attestationKeyTemplates['ecc-p256']);
    const data = new Uint8Array(32).fill(9);
    const quote = await tpm.flushAfter(key.handle, () => tpm.quote(key, data, sha256Pcrs([0, 7])));
    const statement = decode(attest, quote.attest, 'attest');
    expect(statement.type).toBe(AttestType.quote);
    expect(toHex(statement.extraData)).toBe(toHex(data));
  });

  it('TPM2_ReadClock', async () => {
    const first = await tpm.clock();
    const second = await tpm.clock();
    expect(second.clockInfo.clock).toBeGreaterThanOrEqual(first.clockInfo.clock);
    expect(second.clockInfo.resetCount).toBe(first.clockInfo.resetCount);
  });

  it('TPM2_Startup is refused where the TPM was started already', async () => {
    expect(await refusalCodeAsync(() => tpm.startup())).toBe('tpm-response');
  });

  it('says that the TPM is full, and works again after unloading', async () => {
    const loaded: number[] = [];
    let code = 'accepted';
    while (code === 'accepted' && loaded.length < 20) {
      code = await refusalCodeAsync(async () => {
        loaded.push(
          (await tpm.createPrimary(Handle.endorsement, attestationKeyTemplates['ecc-p256'])).handle,
        );
      });
    }
    expect(code).toBe('tpm-slots-full');
    for (const handle of loaded) await tpm.flush(handle);
    expect(await tpm.handles(HandleRange.transient, 254)).toEqual([]);
  });

  it('TA-3: many commands at once each get their own answer', async () => {
    const sizes = Array.from({ length: 30 }, (_, i) => i + 1);
    const answers = await Promise.all(sizes.map((size) => tpm.random(size)));
    expect(answers.map(({ length }) => length)).toEqual(sizes);
  });

  it('two users at once get their own answers', async () => {
    const other = await Tpm.open(simulator.tpm.address, { through });
    const reads = await Promise.all(
      Array.from({ length: 20 }, (_, i) => (i % 2 === 0 ? tpm : other).random(i + 1)),
    );
    expect(reads.map(({ length }) => length)).toEqual(Array.from({ length: 20 }, (_, i) => i + 1));
    await other.close();
  });
});
