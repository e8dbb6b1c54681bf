import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { fromHex, toHex } from '../../../attestation/core/bytes.ts';
import { decode } from '../../../attestation/core/layout.ts';
import { attest } from '../../../attestation/tpm/layout.ts';
import { attestationKeyTemplates } from '../../../attestation/tpm/templates.ts';
import { TpmAttester } from '../../../src/agent/tpm/attester.ts';
import { Handle, HandleRange } from '../../../native/tpm-commands/commands.ts';
import { cutToCertificate, loadEndorsementKey } from '../../../src/agent/tpm/endorsement.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { refusalCode, refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';
import { checkEnrolment, credentialFor, deviceValueOf, verifyEvidence } from './verification.ts';

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);

const PCRS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
const measured = Object.fromEntries(PCRS.map((pcr) => [pcr, [new Uint8Array(32).fill(pcr + 1)]]));
const keyAlgorithms = ['ecc-p256', 'rsa-2048'] as const;

async function loadedObjects(address: string): Promise<readonly number[]> {
  const tpm = await Tpm.open(address);
  const handles = await tpm.handles(HandleRange.transient, 254);
  await tpm.close();
  return handles;
}

describe.skipIf(swtpmMissing !== undefined)('a TPM as an attester', () => {
  let simulator: TestTpm;

  beforeAll(async () => {
    simulator = await startTestTpm();
    await simulator.tpm.measureBoot(measured);
  });
  afterAll(() => simulator.remove());

  describe.each(keyAlgorithms)('with a key of %s', (keyAlgorithm) => {
    it.each(['L-1', 'H-3'] as const)(
      'TA-14: activates a credential, endorsement key %s',
      async (template) => {
        const attester = await TpmAttester.open(simulator.tpm.address, {
          keyAlgorithm,
          endorsementTemplates: [template],
        });
        const { endorsementCertificate, attestationKey } = attester;
        const enrolment = await checkEnrolment(endorsementCertificate, attestationKey, simulator.anchors);
        const secret = randomBytes(32);
        const { credentialBlob, encryptedSecret } = await credentialFor(enrolment, secret);
        expect(toHex(await attester.activate(credentialBlob, encryptedSecret))).toBe(toHex(secret));
        const altered = Uint8Array.from(credentialBlob);
        altered[40] = (altered[40] ?? 0) ^ 1;
        expect(await refusalCodeAsync(() => attester.activate(altered, encryptedSecret))).toBe(
          'tpm-response',
        );
        await attester.close();
      },
    );

    it('TA-17: gives evidence that the verifier accepts', async () => {
      const attester = await TpmAttester.open(simulator.tpm.address, { keyAlgorithm });
      const { endorsementCertificate, attestationKey, attestationKeyName } = attester;
      const enrolment = await checkEnrolment(endorsementCertificate, attestationKey, simulator.anchors);
      expect(toHex(attestationKeyName)).toBe(toHex(enrolment.attestationKey.name));
      expect(toHex(attester.identity)).toBe(enrolment.attestationKey.identity);
      const deviceValue = deviceValueOf(enrolment, randomBytes(32));
      const request = {
        class: 'tpm',
        bank: 'sha256',
        pcrs: PCRS,
        eventLog: false,
        imaList: false,
        agentPcr: null,
        ratchet: false,
      } as const;
      const evidence = await attester.collect(request, deviceValue);
      const verdict = await verifyEvidence(enrolment, evidence, { deviceValue, pcrs: PCRS });
      expect(verdict).toMatchObject({ outcome: 'accepted', claims: { class: 'tpm', simulated: true } });
      await attester.close();
    });

    it('TA-13: makes the same key at every start', async () => {
      const names: string[] = [];
      for (let start = 0; start < 2; start += 1) {
        const attester = await TpmAttester.open(simulator.tpm.address, { keyAlgorithm });
        names.push(toHex(attester.attestationKeyName));
        await attester.close();
      }
      expect(names[0]).toBe(names[1]);
    });
  });

  it('TA-10: leaves nothing loaded', async () => {
    const attester = await TpmAttester.open(simulator.tpm.address);
    expect(await loadedObjects(simulator.tpm.address)).toHaveLength(1);
    await attester.close();
    expect(await loadedObjects(simulator.tpm.address)).toHaveLength(0);
  });

  it('TA-10: takes over its key where killed agents filled the TPM with it', async () => {
    const tpm = await Tpm.open(simulator.tpm.address);
    const left = [];
    for (let agent = 0; agent < 3; agent += 1) {
      left.push(await tpm.createPrimary(Handle.endorsement, attestationKeyTemplates['ecc-p256']));
    }
    const attester = await TpmAttester.open(simulator.tpm.address);
    expect(toHex(attester.attestationKeyName)).toBe(toHex(left[0]!.name));
    expect((await attester.quote(new Uint8Array(32), { bank: 'sha256', pcrs: [0] })).pcrs.size).toBe(1);
    await attester.close();
    expect(await loadedObjects(simulator.tpm.address)).toHaveLength(3);
    const opening = (): Promise<unknown> =>
      TpmAttester.open(simulator.tpm.address, { keyAlgorithm: 'rsa-2048' });
    expect(await refusalCodeAsync(opening)).toBe('tpm-slots-full');
    for (const { handle } of left) await tpm.flush(handle);
    await tpm.close();
  });

  it('TA-14: a credential for another TPM does not open', async () => {
    const other = await startTestTpm();
    const here = await TpmAttester.open(simulator.tpm.address);
    const there = await TpmAttester.open(other.tpm.address);
    const enrolment = await checkEnrolment(there.endorsementCertificate, here.attestationKey, other.anchors);
    const { credentialBlob, encryptedSecret } = await credentialFor(enrolment, randomBytes(32));
    const opened = await refusalCodeAsync(() => here.activate(credentialBlob, encryptedSecret));
    // The TPM that has the endorsement key, but not the attestation key, does not open it either.
    const openedThere = await refusalCodeAsync(() => there.activate(credentialBlob, encryptedSecret));
    await here.close();
    await there.close();
    await other.remove();
    expect([opened, openedThere]).toEqual(['tpm-response', 'tpm-response']);
  });

  it('TA-11: refuses a TPM without a certificate for the wanted template', async () => {
    const opening = (): Promise<unknown> =>
      TpmAttester.open(simulator.tpm.address, { endorsementTemplates: ['L-2', 'H-7'] });
    expect(await refusalCodeAsync(opening)).toBe('tpm-certificate-missing');
  });

  it('TA-16: refuses to quote a bank that is not allocated', async () => {
    const attester = await TpmAttester.open(simulator.tpm.address);
    const quoting = (): Promise<unknown> =>
      attester.quote(new Uint8Array(32), { bank: 'sha384', pcrs: [0, 7] });
    expect(await refusalCodeAsync(quoting)).toBe('tpm-bank-missing');
    await attester.close();
  });

  it('TA-16: quotes while another program extends the same PCRs', async () => {
    const attester = await TpmAttester.open(simulator.tpm.address);
    const other = await Tpm.open(simulator.tpm.address);
    const stop = new AbortController();
    const extending = (async () => {
      for (let i = 0; !stop.signal.aborted; i += 1) {
        await other.extendPcr(10, new Uint8Array(32).fill(i));
        await new Promise((next) => setTimeout(next, 5));
      }
    })();
    const pcrs = [...PCRS, 10, 11];
    let covered = 0;
    for (let i = 0; i < 20; i += 1) {
      const quoted = await attester.quote(new Uint8Array(32).fill(i), { bank: 'sha256', pcrs });
      const { attested } = decode(attest, quoted.attest, 'attest') as {
        attested: { pcrDigest: Uint8Array };
      };
      const joined = Buffer.concat(pcrs.map((pcr) => quoted.pcrs.get(pcr)!));
      const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', joined));
      if (toHex(digest) === toHex(attested.pcrDigest)) covered += 1;
    }
    stop.abort();
    await extending;
    expect(covered).toBe(20);
    await other.close();
    await attester.close();
  });

  it('TA-12: refuses a certificate of another TPM', async () => {
    const other = await startTestTpm();
    const certificate = (await TpmAttester.open(other.tpm.address)).endorsementCertificate;
    await other.remove();
    const tpm = await Tpm.open(simulator.tpm.address);
    const loading = (): Promise<unknown> => loadEndorsementKey(tpm, { template: 'L-1', certificate });
    expect(await refusalCodeAsync(loading)).toBe('tpm-endorsement-key-other');
    expect(await tpm.handles(HandleRange.transient, 254)).toEqual([]);
    await tpm.close();
  });

  it('a simulator that is killed in the middle of a command is refused, and the agent goes on', async () => {
    const doomed = await startTestTpm();
    const attester = await TpmAttester.open(doomed.tpm.address);
    process.kill(doomed.tpm.processId!, 'SIGSTOP');
    const quoting = refusalCodeAsync(() => attester.quote(new Uint8Array(32), { bank: 'sha256', pcrs: [0] }));
    await new Promise((next) => setTimeout(next, 200));
    process.kill(doomed.tpm.processId!, 'SIGKILL');
    expect(await quoting).toBe('tpm-connection-lost');
    await attester.close();
    await doomed.remove();
  });

  it('TA-5: a simulator that is suspended ends in a timeout', async () => {
    const suspended = await startTestTpm();
    const attester = await TpmAttester.open(suspended.tpm.address, { commandTimeoutSeconds: 2 });
    process.kill(suspended.tpm.processId!, 'SIGSTOP');
    const quoting = (): Promise<unknown> => attester.quote(new Uint8Array(32), { bank: 'sha256', pcrs: [0] });
    expect(await refusalCodeAsync(quoting)).toBe('tpm-timeout');
    await attester.close();
    process.kill(suspended.tpm.processId!, 'SIGCONT');
    await suspended.remove();
  });
});

describe('the storage of a certificate', () => {
  const certificate = fromHex('3003020105', 'test');

  it.each(['', '00', '000000', 'ffff'])('TA-11: is cut to the certificate before "%s"', (padding) => {
    const content = Buffer.concat([certificate, Buffer.from(padding, 'hex')]);
    expect(toHex(cutToCertificate(content, 0x01c00002))).toBe(toHex(certificate));
  });

  it.each([
    ['3003020105' + '00ff', 'tpm-certificate-malformed'],
    ['3003020105' + '3003020105', 'tpm-certificate-malformed'],
    ['30030201', 'der-truncated'],
    ['', 'der-truncated'],
    ['1001000310020000', 'der-tag'],
  ])('TA-11: with the content %s is refused', (content, code) => {
    expect(refusalCode(() => cutToCertificate(Buffer.from(content, 'hex'), 0x01c00002))).toBe(code);
  });
});
