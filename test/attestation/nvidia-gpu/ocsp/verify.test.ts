import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { CertificateMemory } from '../../../../attestation/core/certificate-memory.ts';
import { readCertificate, type Certificate } from '../../../../attestation/core/x509.ts';
import { readOcspAnswer } from '../../../../attestation/nvidia-gpu/ocsp/answer.ts';
import { verifyOcspAnswer, type OcspQuestion } from '../../../../attestation/nvidia-gpu/ocsp/verify.ts';
import { extension } from '../../../../src/agent/simulated/certificate-parts.ts';
import * as der from '../../../../src/agent/simulated/der-writer.ts';
import type { CertifiedKey } from '../../../../src/agent/simulated/nvidia-certificates.ts';
import { SimulatedNvidia } from '../../../../src/agent/simulated/nvidia-authority.ts';
import { SimulatedResponder } from '../../../../src/agent/simulated/nvidia-ocsp.ts';
import {
  byName,
  certifyResponder,
  noCheck,
  nonceExtension,
  purposesOf,
  revoked,
  signingUsage,
  unknown,
  wrapAnswer,
  writeAnswer,
  type AnswerParts,
  type ResponderOptions,
} from '../../../support/ocsp-answers.ts';
import { refusalCodeAsync } from '../../../support/refusal-code.ts';

const TIME = Date.parse('2026-11-21T12:00:00Z') / 1000;
const HOUR = 3600;
const DAY = 24 * HOUR;

let issuer: CertifiedKey;
let otherIssuer: CertifiedKey;
let responder: CertifiedKey;
let certificate: Certificate;
let issuerCertificate: Certificate;

beforeAll(async () => {
  const nvidia = await SimulatedNvidia.create(TIME);
  const [provisioner, identity, root] = nvidia.issuersOf('GH100');
  if (provisioner === undefined || identity === undefined || root === undefined)
    throw new Error('no issuers');
  issuer = identity;
  otherIssuer = root;
  certificate = readCertificate(provisioner.certificate, 'certificate');
  issuerCertificate = readCertificate(identity.certificate, 'issuer');
  responder = await certifyResponder(issuer, TIME);
});

const answer = (parts: Partial<AnswerParts> = {}): Uint8Array =>
  writeAnswer({
    issuer,
    responder,
    serialNumber: certificate.serialNumber,
    thisUpdate: TIME - HOUR,
    ...parts,
  });
const question = (more: Partial<OcspQuestion> = {}): OcspQuestion => ({
  certificate,
  issuer: issuerCertificate,
  time: TIME,
  maxAgeSeconds: DAY,
  ...more,
});
const codeOf = (bytes: Uint8Array, more: Partial<OcspQuestion> = {}): Promise<string> =>
  refusalCodeAsync(() => verifyOcspAnswer(bytes, question(more)));
const codeBy = async (options: ResponderOptions, from = issuer): Promise<string> =>
  codeOf(answer({ responder: await certifyResponder(from, TIME, options) }));

describe('statuses', () => {
  it('NO-11: good, revoked, hold and unknown are told apart', async () => {
    const times = { producedAt: TIME - HOUR, thisUpdate: TIME - HOUR, nextUpdate: TIME - HOUR + DAY };
    const nothing = { revokedAt: undefined, reason: undefined };
    expect(await verifyOcspAnswer(answer(), question())).toEqual({ status: 'good', ...times, ...nothing });
    const statusOf = async (status: der.DerValue): Promise<unknown> =>
      await verifyOcspAnswer(answer({ status }), question());
    expect(await statusOf(unknown())).toMatchObject({ status: 'unknown', ...nothing });
    const revokedAt = TIME - DAY;
    expect(await statusOf(revoked(revokedAt, 6))).toMatchObject({ status: 'hold', revokedAt, reason: 6 });
    expect(await statusOf(revoked(revokedAt, 1))).toMatchObject({ status: 'revoked', revokedAt, reason: 1 });
    expect(await statusOf(revoked(revokedAt))).toMatchObject({ status: 'revoked', reason: undefined });
  });

  it('NO-11: the answers of the simulated responder are understood', async () => {
    const simulated = await SimulatedResponder.create(issuer, TIME);
    for (const status of ['good', 'revoked', 'hold', 'unknown'] as const) {
      const bytes = simulated.answer(certificate.encoded, { status });
      expect(await verifyOcspAnswer(bytes, question())).toMatchObject({ status });
    }
  });

  it('NO-4: the issuer may answer itself', async () => {
    const own = answer({ responder: issuer, certificates: [] });
    expect(await verifyOcspAnswer(own, question())).toMatchObject({ status: 'good' });
    expect(await codeOf(answer({ responder: otherIssuer, certificates: [] }))).toBe('ocsp-responder');
  });

  it('W10: a memory changes nothing but the time', async () => {
    const memory = new CertificateMemory();
    const bytes = answer();
    const first = await verifyOcspAnswer(bytes, question({ memory }));
    expect(await verifyOcspAnswer(bytes, question({ memory }))).toEqual(first);
    expect(await codeOf(bytes, { memory, time: TIME + 2 * DAY })).toBe('ocsp-responder-validity');
    const altered = bytes.slice();
    // The answer ends with the signature of the responder's certificate.
    altered[altered.length - 1] = (altered.at(-1) ?? 0) ^ 1;
    expect(await codeOf(altered, { memory })).toBe('ocsp-responder-signature');
  });
});

describe('the certificate in question', () => {
  it('NO-3: an answer about another certificate, issuer or by another hash is refused', async () => {
    expect(await codeOf(answer({ serialNumber: Uint8Array.of(7) }))).toBe('ocsp-other-certificate');
    expect(await codeOf(answer({ issuer: otherIssuer }))).toBe('ocsp-other-certificate');
    expect(await codeOf(answer(), { issuer: certificate })).toBe('ocsp-other-certificate');
    expect(await codeOf(answer({ hashAlgorithm: '2.16.840.1.101.3.4.2.1' }))).toBe('ocsp-malformed');
  });
});

describe('responders', () => {
  it('NO-4: one of another issuer is refused, whatever it is called', async () => {
    expect(await codeBy({}, otherIssuer)).toBe('ocsp-responder');
    const impostor: CertifiedKey = { ...otherIssuer, name: issuer.name };
    expect(await codeBy({}, impostor)).toBe('ocsp-responder-signature');
  });

  it('NO-4: one whose certificate is not valid now is refused', async () => {
    expect(await codeBy({ notAfter: TIME - 1 })).toBe('ocsp-responder-validity');
    expect(await codeBy({ notBefore: TIME + 1 })).toBe('ocsp-responder-validity');
    expect(await codeBy({ notBefore: TIME, notAfter: TIME })).toBe('accepted');
  });

  it('NO-5: one that has not been delegated to answer is refused', async () => {
    const authority = extension('2.5.29.19', der.toDer(der.sequence(der.boolean(true))), true);
    const encipherment = extension('2.5.29.15', der.toDer(der.bitString(Uint8Array.of(0x20), 5)), true);
    const foreign = extension('1.2.3.4', Uint8Array.of(5, 0), true);
    const refusedOnes: Readonly<Record<string, ResponderOptions>> = {
      'no purpose': { purposes: [] },
      'another purpose': { purposes: ['1.3.6.1.5.5.7.3.1'] },
      'an authority': { extensions: [authority, signingUsage(), noCheck()] },
      'another key usage': { extensions: [encipherment, noCheck()] },
      'a critical extension': { extensions: [foreign, signingUsage(), noCheck()] },
    };
    for (const [name, options] of Object.entries(refusedOnes)) {
      expect([name, await codeBy(options)]).toEqual([name, 'ocsp-responder']);
    }
    expect(await codeBy({ extensions: [noCheck()] })).toBe('accepted');
  });

  it('NO-6: one that could be revoked itself is refused', async () => {
    expect(await codeBy({ extensions: [signingUsage()] })).toBe('ocsp-responder-revocable');
    const among = purposesOf('1.3.6.1.5.5.7.3.9', '1.3.6.1.5.5.7.48.1.5');
    expect(await codeBy({ purposes: [], extensions: [signingUsage(), among] })).toBe('accepted');
  });

  it('NO-7: the answer names its responder and is signed by it', async () => {
    expect(await codeOf(answer({ responderId: byName(responder) }))).toBe('accepted');
    expect(await codeOf(answer({ responderId: byName(issuer) }))).toBe('ocsp-responder');
    const other = await certifyResponder(issuer, TIME);
    const signedByOther = answer({ responder: { ...responder, key: other.key } });
    expect(await codeOf(signedByOther)).toBe('ocsp-signature');
    const bytes = answer();
    const at = bytes.length - responder.certificate.length - 20;
    bytes[at] = (bytes[at] ?? 0) ^ 1;
    expect(await codeOf(bytes)).toBe('ocsp-signature');
  });
});

describe('time', () => {
  it('NO-8: an answer from the future is refused, but for a minute', async () => {
    const from = (offset: number): Partial<AnswerParts> => ({ thisUpdate: TIME + offset });
    expect(await codeOf(answer(from(60)))).toBe('accepted');
    expect(await codeOf(answer(from(61)))).toBe('ocsp-not-yet-valid');
    expect(await codeOf(answer({ producedAt: TIME + 61 }))).toBe('ocsp-not-yet-valid');
  });

  it('NO-8: an answer past its next update is refused', async () => {
    expect(await codeOf(answer({ nextUpdate: TIME + 1 }))).toBe('accepted');
    expect(await codeOf(answer({ nextUpdate: TIME }))).toBe('ocsp-stale');
  });

  it('NO-9: an answer older than the verifier accepts is refused', async () => {
    expect(await codeOf(answer(), { maxAgeSeconds: HOUR })).toBe('accepted');
    expect(await codeOf(answer(), { maxAgeSeconds: HOUR - 1 })).toBe('ocsp-too-old');
  });

  it('NO-10: a nonce that was sent has to come back', async () => {
    const nonce = new Uint8Array(32).fill(7);
    const echoing = answer({ responseExtensions: [nonceExtension(nonce)] });
    expect(await codeOf(echoing, { nonce })).toBe('accepted');
    expect(await codeOf(echoing)).toBe('accepted');
    expect(await codeOf(answer(), { nonce })).toBe('ocsp-nonce');
    expect(await codeOf(echoing, { nonce: new Uint8Array(32) })).toBe('ocsp-nonce');
  });
});

describe('the form of answers', () => {
  const error = (status: number): Uint8Array => der.toDer(der.sequence(der.enumerated(status)));

  it('NO-1: what is no answer is refused', async () => {
    expect(await codeOf(error(3))).toBe('ocsp-unanswered');
    expect(await codeOf(error(6))).toBe('ocsp-unanswered');
    expect(await codeOf(error(4))).toBe('ocsp-malformed');
    expect(await codeOf(error(0))).toBe('der-truncated');
    expect(await codeOf(wrapAnswer(new Uint8Array(4), '1.3.6.1.5.5.7.48.1.9'))).toBe('ocsp-malformed');
    expect(await codeOf(new Uint8Array(16 * 1024 + 1))).toBe('ocsp-size');
    expect(await codeOf(Uint8Array.of(...answer(), 0))).toBe('der-trailing');
  });

  it('NO-2: what two readers could read differently is refused', async () => {
    const critical = extension('1.2.3.4', Uint8Array.of(5, 0), true);
    const nonce = nonceExtension(Uint8Array.of(1));
    const refusedOnes: Readonly<Record<string, Partial<AnswerParts>>> = {
      'two responses': { times: 2 },
      'no next update': { nextUpdate: null },
      'an empty time': { nextUpdate: TIME - HOUR },
      'two certificates': { certificates: [responder, issuer] },
      'a critical extension': { responseExtensions: [critical] },
      'the nonce twice': { responseExtensions: [nonce, nonce] },
      'a reason that does not exist': { status: revoked(TIME - DAY, 7) },
      'a status with content': { status: der.implicit(0, Uint8Array.of(1)) },
      'another status': { status: der.implicit(3, new Uint8Array()) },
      'another name of the responder': { responderId: der.implicit(2, new Uint8Array(20)) },
    };
    for (const [name, parts] of Object.entries(refusedOnes)) {
      const found = await codeOf(answer(parts));
      expect([name, found]).toEqual([name, expect.stringMatching(/^(?:ocsp-malformed|der-truncated)$/)]);
    }
    expect(await codeOf(answer({ responseExtensions: [nonceExtension(new Uint8Array(129))] }))).toBe(
      'ocsp-size',
    );
    expect(await codeOf(answer({ responseExtensions: [extension('1.2.3', Uint8Array.of(5, 0))] }))).toBe(
      'accepted',
    );
  });

  it('NO-1: no bytes make the reader fail otherwise than by a refusal', () => {
    const bytes = answer();
    const attempt = (altered: Uint8Array): string => {
      try {
        readOcspAnswer(altered, 'ocsp');
        return 'read';
      } catch (thrown) {
        return (thrown as Error).name;
      }
    };
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const altered = bytes.slice();
        altered[at] = (altered[at] ?? 0) ^ mask;
        expect(attempt(altered)).toMatch(/^(?:read|RefusalError)$/);
        expect(attempt(bytes.subarray(0, at))).toBe('RefusalError');
      }),
      { numRuns: 300 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (random) => {
        expect(attempt(random)).toMatch(/^(?:read|RefusalError)$/);
      }),
    );
  });

  it('NO-7: no single altered byte of what is signed goes unnoticed', async () => {
    const bytes = answer();
    const claimed = readOcspAnswer(bytes, 'ocsp');
    if ('responseStatus' in claimed) throw new Error('no answer');
    const start = claimed.tbsResponseData.byteOffset - bytes.byteOffset;
    await fc.assert(
      fc.asyncProperty(
        fc.nat(claimed.tbsResponseData.length - 1),
        fc.integer({ min: 1, max: 255 }),
        async (at, mask) => {
          const altered = bytes.slice();
          altered[start + at] = (altered[start + at] ?? 0) ^ mask;
          expect(await codeOf(altered)).not.toBe('accepted');
        },
      ),
      { numRuns: 100 },
    );
  });
});
