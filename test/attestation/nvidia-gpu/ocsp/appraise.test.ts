import { beforeAll, describe, expect, it } from 'vitest';

import { judge } from '../../../../attestation/core/verdict.ts';
import { readCertificate, type Certificate } from '../../../../attestation/core/x509.ts';
import {
  issuedCertificates,
  judgeRevocation,
  ocspCollateralName,
  type KnownStatus,
  type RevocationInputs,
} from '../../../../attestation/nvidia-gpu/ocsp/appraise.ts';
import type { CertifiedKey } from '../../../../src/agent/simulated/nvidia-certificates.ts';
import { SimulatedNvidia } from '../../../../src/agent/simulated/nvidia-authority.ts';
import { SimulatedResponder, type SimulatedStatus } from '../../../../src/agent/simulated/nvidia-ocsp.ts';

const TIME = Date.parse('2026-11-21T12:00:00Z') / 1000;

let issuers: readonly CertifiedKey[];
let chain: readonly Certificate[];
let responders: readonly SimulatedResponder[];

beforeAll(async () => {
  issuers = (await SimulatedNvidia.create(TIME)).issuersOf('GH100');
  chain = issuers.map(({ certificate }) => readCertificate(certificate, 'certificate'));
  responders = await Promise.all(issuers.slice(1).map((issuer) => SimulatedResponder.create(issuer, TIME)));
});

/** An answer about each certificate but the root; undefined where there is none. */
function collateralOf(...statuses: readonly (SimulatedStatus | undefined)[]): Map<string, Uint8Array> {
  return new Map(
    statuses.flatMap((status, i) => {
      const [certificate, responder] = [chain[i], responders[i]];
      if (certificate === undefined || responder === undefined || status === undefined) return [];
      return [[ocspCollateralName(certificate), responder.answer(certificate.encoded, { status })] as const];
    }),
  );
}

/** What is known of each certificate, or the code of the refusal. */
async function outcomeOf(
  collateral: ReadonlyMap<string, Uint8Array>,
  policy: Partial<RevocationInputs> = {},
): Promise<readonly string[]> {
  let known: readonly KnownStatus[] = [];
  const verdict = await judge(async (checks) => {
    const inputs = {
      collateral,
      time: TIME,
      maxAgeSeconds: 86_400,
      missing: 'refuse',
      hold: 'refuse',
    } as const;
    known = await judgeRevocation(issuedCertificates(chain), { ...inputs, ...policy }, checks);
    return {};
  });
  return verdict.outcome === 'refused'
    ? verdict.refusals.map(({ code }) => code)
    : known.map(({ status }) => status);
}

describe('revocation in a chain', () => {
  it('NO-13: every certificate but the root is judged by the answer about it', async () => {
    expect(issuedCertificates(chain)).toHaveLength(2);
    expect(await outcomeOf(collateralOf('good', 'good'))).toEqual(['good', 'good']);
    expect(ocspCollateralName({ encoded: new Uint8Array() })).toBe(
      'ocsp:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
    );
  });

  it('NO-12: revoked and unknown certificates are refused, wherever they stand', async () => {
    expect(await outcomeOf(collateralOf('revoked', 'good'))).toEqual(['ocsp-revoked']);
    expect(await outcomeOf(collateralOf('good', 'revoked'))).toEqual(['ocsp-revoked']);
    expect(await outcomeOf(collateralOf('unknown', 'good'))).toEqual(['ocsp-unknown']);
    const lenient = { hold: 'accept', missing: 'accept' } as const;
    expect(await outcomeOf(collateralOf('revoked'), lenient)).toEqual(['ocsp-revoked']);
    expect(await outcomeOf(collateralOf('unknown'), lenient)).toEqual(['ocsp-unknown']);
  });

  it('NO-12: hold is refused unless the policy accepts it', async () => {
    expect(await outcomeOf(collateralOf('hold', 'good'))).toEqual(['ocsp-hold']);
    expect(await outcomeOf(collateralOf('hold', 'good'), { hold: 'accept' })).toEqual(['hold', 'good']);
  });

  it('NO-13: a missing answer is not a good one', async () => {
    expect(await outcomeOf(collateralOf('good', undefined))).toEqual(['ocsp-missing']);
    expect(await outcomeOf(collateralOf('good', undefined), { missing: 'accept' })).toEqual([
      'good',
      'missing',
    ]);
  });

  it('NO-13: an answer that is given must hold, whatever the policy says of missing ones', async () => {
    const collateral = collateralOf('good', 'good');
    const stale = { time: TIME + 2 * 86_400, missing: 'accept' } as const;
    expect(await outcomeOf(collateral, stale)).toEqual(['ocsp-stale']);
    const [first, second] = [...collateral.keys()];
    const swapped = new Map([[first ?? '', collateral.get(second ?? '') ?? new Uint8Array()]]);
    expect(await outcomeOf(swapped, { missing: 'accept' })).toEqual(['ocsp-other-certificate']);
  });
});
