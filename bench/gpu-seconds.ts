/** `npm run bench:gpu-seconds`: how exact GPU-seconds are, as the table of docs/billing.md. The simulation decides, not this machine. */
import { accuracyOf, CASES } from './gpu-seconds/accuracy.ts';

const percent = (part: number): string => `${(100 * part).toFixed(1)} %`;

console.log('| engine | requests | load | median error | p95 | sum ÷ busy time |');
console.log('|---|---|---|---|---|---|');
for (const one of CASES) {
  const { median, p95, sum } = accuracyOf(one);
  const notes = [
    one.inOnePiece > 0 ? `, ${100 * one.inOnePiece} % in one piece` : '',
    one.replicas > 1 ? `, ${one.replicas} replicas` : '',
  ].join('');
  const cells = [one.profile, `${one.mix}${notes}`, one.load, percent(median), percent(p95), sum.toFixed(4)];
  console.log(`| ${cells.join(' | ')} |`);
}
