-- predictions: what was called truth is the Label; the truth is what is known better than by Labels.
alter table predictions rename column truth to label;
