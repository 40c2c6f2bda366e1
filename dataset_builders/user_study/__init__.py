"""User study of generated preferences (appendix F): scenarios, answers of people and of a model, agreement"""
