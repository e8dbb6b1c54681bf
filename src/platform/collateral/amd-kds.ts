/**
 * AMD's key distribution service (AMD 57230, "VCEK and VLEK Certificate and KDS Interface Specification"). What it answers is
 * not checked here: see sev-snp-check.ts.
 */

import { defineRefusals } from '../../../attestation/core/refusal.ts';
import { ServiceClient, type ServiceIdentity, type ServiceOptions } from './service-client.ts';
import {
  chipIdText,
  collateralName,
  MAX_COLLATERAL_BYTES,
  type CollateralItem,
  type CollateralSource,
} from './source.ts';

export const kdsReachRefusals = defineRefusals('unavailable', {
  'kds-unreachable': {
    means: 'AMD’s key distribution service did not answer.',
    hint: 'Check that this machine can reach kdsintf.amd.com, or import the certificates by hand.',
  },
  'kds-timeout': {
    means: 'AMD’s key distribution service did not answer completely in time.',
    hint: 'Try again later, or import the certificates by hand.',
  },
  'kds-busy': {
    means: 'AMD’s key distribution service asks to be left alone, or too much is to be fetched at once.',
    hint: 'Wait some minutes; what was fetched once is kept.',
  },
});

export const kdsAnswerRefusals = defineRefusals('inauthentic', {
  'kds-not-trusted': {
    means: 'What answered did not prove over TLS to be AMD’s key distribution service.',
    hint: 'Check the way out of this network; do not work round this.',
  },
  'kds-answer': {
    means: 'AMD’s key distribution service answered something that it never should.',
    hint: 'Check for a proxy that writes answers of its own, or import the certificates by hand.',
  },
});

export const KDS_ADDRESS = 'https://kdsintf.amd.com';

export interface AmdKdsOptions extends ServiceOptions {
  readonly address?: string;
}

/** The path of an item, as AMD 57230 gives it. */
export function kdsPath(item: CollateralItem): string {
  if (item.kind !== 'vcek') {
    return `/${item.signer}/v1/${item.line}/${item.kind === 'chain' ? 'cert_chain' : 'crl'}`;
  }
  const { fmc, bootLoader, tee, snp, microcode } = item.tcb;
  const first = fmc === undefined ? [] : [`fmcSPL=${fmc}`];
  const levels = [...first, `blSPL=${bootLoader}`, `teeSPL=${tee}`, `snpSPL=${snp}`, `ucodeSPL=${microcode}`];
  return `/vcek/v1/${item.line}/${chipIdText(item)}?${levels.join('&')}`;
}

const KDS: ServiceIdentity = {
  name: 'AMD KDS',
  refusal: (failure, facts, options) =>
    failure === 'not-trusted' || failure === 'answer'
      ? kdsAnswerRefusals.error(`kds-${failure}`, facts, options)
      : kdsReachRefusals.error(`kds-${failure}`, facts, options),
};

/** Asks the service. Nothing that it says is kept here but that it has something not. */
export class AmdKds implements CollateralSource {
  private readonly address: string;
  private readonly client: ServiceClient;

  constructor({ address = KDS_ADDRESS, ...options }: AmdKdsOptions = {}) {
    this.address = address;
    this.client = new ServiceClient(KDS, options);
  }

  /** @throws RefusalError `kds-*` */
  find(item: CollateralItem): Promise<Uint8Array | undefined> {
    return this.client.ask({
      name: collateralName(item),
      url: new URL(kdsPath(item), this.address),
      exchange: { method: 'GET', headers: { accept: '*/*' } },
      maxAnswerBytes: MAX_COLLATERAL_BYTES[item.kind],
    });
  }
}
