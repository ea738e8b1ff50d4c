// oxlint-disable-next-line import/no-unassigned-import -- a style sheet has nothing to assign
import 'uplot/dist/uPlot.min.css';
import { render } from 'preact';
import { Console } from './console.tsx';

const root = document.querySelector('#console');
if (root !== null) render(<Console />, root);
